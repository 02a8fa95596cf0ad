"""Arithmetic word problems: six variants, from one PEFT expert of rank 2 to many of rank 16."""

import dataclasses
import math

import optuna

from perft import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SearchSpace,
    SingleConfig,
    TrainingConfig,
    TrialConfig,
)

_VARIANTS = ("perft-r", "perft-e", "perft-d", "perft-s", "lora-qv", "lora-router")


def training(builtin: bool) -> TrainingConfig:
    """The training configuration, except for the learning rate that a trial draws."""
    if builtin:
        return TrainingConfig(lr=5e-3, max_steps=200, warmup_steps=20, max_length=128)
    return TrainingConfig(lr=2e-4, max_steps=600, warmup_steps=60, max_length=256)


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial; small ranks and high rates on the built-in base, the paper's otherwise."""
    lr = suggest_lr(trial, builtin)
    return TrialConfig(
        suggest_adapter(trial, builtin), dataclasses.replace(training(builtin), lr=lr)
    )


def suggest_lr(trial: optuna.Trial, builtin: bool) -> float:
    """Draws a learning rate."""
    lowest, highest = (1e-3, 3e-2) if builtin else (1e-5, 2e-3)
    return trial.suggest_float("lr", lowest, highest, log=True)


def suggest_adapter(trial: optuna.Trial, builtin: bool) -> AdapterConfig:
    """Draws a variant and its sizes."""
    variant = trial.suggest_categorical("variant", _VARIANTS)
    rank = trial.suggest_categorical("rank", (2, 4, 8, 16) if builtin else (4, 8, 16, 32))
    match variant:
        case "perft-r":
            # One categorical for both, so that top-k never exceeds the number of experts.
            routing = trial.suggest_categorical("routing", ("1/2", "1/4", "2/4", "2/8", "4/8"))
            top_k, num_experts = map(int, routing.split("/"))
            return RoutedConfig(rank=rank, num_experts=num_experts, top_k=top_k)
        case "perft-e":
            return EmbeddedConfig(rank=rank)
        case "perft-d":
            return DenseConfig(rank=rank, num_experts=trial.suggest_categorical("dense", (2, 4)))
        case "perft-s":
            return SingleConfig(rank=rank)
        case "lora-qv":
            return LoraQVConfig(rank=rank)
        case _:
            return LoraRouterConfig(rank=rank)


def prior(config: TrialConfig, builtin: bool) -> float:
    """Expects most of rates near 0.014 on the built-in base; nothing is known of others."""
    if not builtin:
        return 1.0
    decades = math.log10(config.training.lr / 0.014)
    return math.exp(-((decades / 0.3) ** 2) / 2)


SPACE = SearchSpace(
    task="arithmetic",
    training=training,
    suggest=suggest,
    prior=prior,
    num_trials=20,  # by replays the fewest with which a front seldom has under four points
)
