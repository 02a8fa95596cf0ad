"""Commonsense questions: the adapters and rates of `arithmetic`, and a longer training.

To ask the base for what it knows takes the embedded base more steps than to copy numbers into an
equation.
"""

import dataclasses

import optuna

from perft.config import TrainingConfig
from perft.search.space import SearchSpace
from perft.trial import TrialConfig
from search_spaces import arithmetic


def training(embedded: bool) -> TrainingConfig:
    """How a trial is trained, but for its learning rate."""
    if embedded:
        return dataclasses.replace(arithmetic.training(embedded), max_steps=300, warmup_steps=30)
    return arithmetic.training(embedded)


def suggest(trial: optuna.Trial, embedded: bool) -> TrialConfig:
    """Draws one trial, as `arithmetic` does."""
    drawn = arithmetic.suggest(trial, embedded)
    return TrialConfig(drawn.adapter, dataclasses.replace(training(embedded), lr=drawn.training.lr))


SPACE = SearchSpace(task="commonsense", training=training, suggest=suggest)
