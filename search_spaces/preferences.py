"""Preferences between answers: the adapters of `arithmetic`, trained by DPO.

DPO needs lower learning rates than supervised fine-tuning, and the best one depends on `beta`: a
trial draws both.
"""

import dataclasses

import optuna

from perft import SearchSpace, TrainingConfig, TrialConfig
from search_spaces import arithmetic


def training(builtin: bool) -> TrainingConfig:
    """The training configuration, except for the learning rate and beta that a trial draws."""
    if builtin:
        return TrainingConfig(
            lr=3e-3, max_steps=100, warmup_steps=10, max_length=128, objective="dpo", beta=0.1
        )
    return dataclasses.replace(arithmetic.training(builtin), lr=2e-5, objective="dpo", beta=0.1)


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial."""
    lowest, highest = (1e-3, 1e-2) if builtin else (1e-6, 2e-4)
    drawn = dataclasses.replace(
        training(builtin),
        lr=trial.suggest_float("lr", lowest, highest, log=True),
        beta=trial.suggest_float("beta", 0.03, 0.5, log=True),
    )
    return TrialConfig(arithmetic.suggest_adapter(trial, builtin), drawn)


SPACE = SearchSpace(task="preferences", training=training, suggest=suggest)
