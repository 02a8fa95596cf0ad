"""A search space for a task of one's own: data, prompt and scorer are declared here alone.

python jobs/search.py --space docs/examples/own_task/space.py
python jobs/train.py --space docs/examples/own_task/space.py --variant perft-s --rank 8
"""

import dataclasses
from pathlib import Path

import optuna

from perft import (
    LoraQVConfig,
    OwnTask,
    RoutedConfig,
    SearchSpace,
    SingleConfig,
    TrainingConfig,
    TrialConfig,
)

HERE = Path(__file__).parent

TASK = OwnTask(
    name="larger-number",
    train=HERE / "train.jsonl",  # or .json, .parquet, or a dataset id such as "org/name[train]"
    test=HERE / "test.jsonl",
    prompt="Which is larger, {a} or {b}?",  # columns in braces
    answer="larger",  # the column of the label
    scorer="numeric",  # or exact, choice, loss only, or a function (text, label) -> bool
    max_new_tokens=8,
)


def training(builtin: bool) -> TrainingConfig:
    """How a trial is trained, but for its learning rate."""
    lr = 1e-2 if builtin else 2e-4
    return TrainingConfig(lr=lr, max_steps=80, warmup_steps=8, max_length=64)


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial."""
    lowest, highest = (1e-3, 3e-2) if builtin else (1e-5, 2e-3)
    lr = trial.suggest_float("lr", lowest, highest, log=True)
    rank = trial.suggest_categorical("rank", (2, 8, 16))
    variant = trial.suggest_categorical("variant", ("perft-r", "perft-s", "lora-qv"))
    adapter = {
        "perft-r": RoutedConfig(rank=rank, num_experts=4, top_k=2),
        "perft-s": SingleConfig(rank=rank),
        "lora-qv": LoraQVConfig(rank=rank),
    }[variant]
    return TrialConfig(adapter, dataclasses.replace(training(builtin), lr=lr))


SPACE = SearchSpace(task=TASK, training=training, suggest=suggest, num_trials=6, rungs=2)
