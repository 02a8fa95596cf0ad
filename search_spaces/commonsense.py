"""Commonsense questions: the adapters and rates of `arithmetic`, and a longer training.

To ask the base for what it knows takes the built-in base more steps than to copy numbers into an
equation.
"""

import dataclasses

import optuna

from perft.config import TrainingConfig
from perft.search.space import SearchSpace
from perft.trial import TrialConfig
from search_spaces import arithmetic


def training(builtin: bool) -> TrainingConfig:
    """How a trial is trained, but for its learning rate."""
    if builtin:
        return dataclasses.replace(arithmetic.training(builtin), max_steps=300, warmup_steps=30)
    return arithmetic.training(builtin)


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial, as `arithmetic` does."""
    drawn = arithmetic.suggest(trial, builtin)
    return TrialConfig(drawn.adapter, dataclasses.replace(training(builtin), lr=drawn.training.lr))


SPACE = SearchSpace(task="commonsense", training=training, suggest=suggest)
