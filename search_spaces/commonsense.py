"""Commonsense questions: the adapters and rates of `arithmetic`, with longer training.

The built-in base needs more steps to answer from its knowledge than to copy numbers into equations.
"""

import dataclasses

import optuna

from perft import SearchSpace, TrainingConfig, TrialConfig
from search_spaces import arithmetic


def training(builtin: bool) -> TrainingConfig:
    """The training configuration, except for the learning rate that a trial draws."""
    if builtin:
        return dataclasses.replace(arithmetic.training(builtin), max_steps=300, warmup_steps=30)
    return arithmetic.training(builtin)


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial, as `arithmetic` does."""
    drawn = arithmetic.suggest(trial, builtin)
    return TrialConfig(drawn.adapter, dataclasses.replace(training(builtin), lr=drawn.training.lr))


SPACE = SearchSpace(task="commonsense", training=training, suggest=suggest, prior=arithmetic.prior)
