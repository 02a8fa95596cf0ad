"""The whole design space on arithmetic: every variant, form, routing, layer choice and loss.

Far larger than `arithmetic`, for a machine that tries hundreds of trials.
"""

import dataclasses
from typing import Any

import optuna

from perft.config import VARIANTS, AdapterConfig, adapter_from_flat
from perft.search.space import SearchSpace
from perft.trial import TrialConfig
from search_spaces.arithmetic import suggest_lr, training


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial; small ranks and high rates on the built-in base, the paper's otherwise."""
    lr = suggest_lr(trial, builtin)
    return TrialConfig(_adapter(trial, builtin), dataclasses.replace(training(builtin), lr=lr))


def _adapter(trial: optuna.Trial, builtin: bool) -> AdapterConfig:
    variant = trial.suggest_categorical("variant", VARIANTS)
    flat: dict[str, Any] = {
        "variant": variant,
        "rank": trial.suggest_categorical("rank", (2, 4, 8, 16) if builtin else (4, 8, 16, 32)),
        "layers": trial.suggest_categorical("layers", ("all", "every:2", "last:1")),
        "base_balance": trial.suggest_float("base_balance", 0.0, 0.02),
    }
    if variant not in ("lora-router", "lora-experts"):
        flat["dropout"] = trial.suggest_float("dropout", 0.0, 0.1)
    if variant.startswith("perft-"):
        flat |= _expert(trial)
    if variant == "perft-d":
        flat["num_experts"] = trial.suggest_categorical("dense", (2, 4))
    if variant == "perft-r":
        flat |= _routing(trial)
    return adapter_from_flat(flat)


def _expert(trial: optuna.Trial) -> dict[str, Any]:
    form = trial.suggest_categorical("expert", ("lora", "silu", "gelu", "relu"))
    return {"form": "lora"} if form == "lora" else {"form": "parallel", "activation": form}


def _routing(trial: optuna.Trial) -> dict[str, Any]:
    # One categorical for both, so that top-k never exceeds the number of experts.
    ratio = trial.suggest_categorical("routing", ("1/2", "1/4", "2/4", "4/4", "2/8", "8/8"))
    top_k, num_experts = map(int, ratio.split("/"))
    return {
        "top_k": top_k,
        "num_experts": num_experts,
        "balance": trial.suggest_float("balance", 0.0, 0.02),
        # With one expert per token the router could not learn.
        "normalize_top_k": top_k > 1 and trial.suggest_categorical("normalize", (False, True)),
    }


SPACE = SearchSpace(task="arithmetic", training=training, suggest=suggest, num_trials=256)
