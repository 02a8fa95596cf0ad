"""The whole design space on arithmetic: every variant, form, routing, layer choice and loss.

Far larger than `arithmetic`, for searches of hundreds of trials.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

import optuna

from perft import AdapterConfig, SearchSpace, TrialConfig
from perft.config import VARIANTS, ExpertForm, adapter_from_flat, config_of, fields_of
from search_spaces.arithmetic import suggest_lr, training

FORMS = get_args(ExpertForm)
EXPERTS = (*(form for form in FORMS if form != "parallel"), "silu", "gelu", "relu")
"""Choices of PEFT experts: the forms, and the parallel form with each of these activations."""


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Draws one trial; small ranks and high rates on the built-in base, the paper's otherwise."""
    lr = suggest_lr(trial, builtin)
    adapter = suggest_adapter(trial, builtin)
    return TrialConfig(adapter, dataclasses.replace(training(builtin), lr=lr))


def suggest_adapter(
    trial: optuna.Trial,
    builtin: bool,
    variants: Sequence[str] = VARIANTS,
    experts: Sequence[str] = EXPERTS,
) -> AdapterConfig:
    """Draws an adapter; your own space can limit its variants and experts.

    Args:
        trial: suggests every setting of the variant.
        builtin: whether the base is the built-in one.
        variants: names of the variants to choose from.
        experts: choices of PEFT experts: a form, or an activation of the parallel form.
    """
    variant = trial.suggest_categorical("variant", variants)
    flat: dict[str, Any] = {
        "variant": variant,
        "rank": trial.suggest_categorical("rank", (2, 4, 8, 16) if builtin else (4, 8, 16, 32)),
        "layers": trial.suggest_categorical("layers", ("all", "every:2", "last:1")),
        "base_balance": trial.suggest_float("base_balance", 0.0, 0.02),
    }
    has = fields_of(variant)
    if config_of(variant).drops:
        flat["dropout"] = trial.suggest_float("dropout", 0.0, 0.1)
    if "form" in has:
        flat |= _expert(trial.suggest_categorical("expert", experts))
    if "top_k" in has:
        flat |= _routing(trial)
    elif "num_experts" in has:
        flat["num_experts"] = trial.suggest_categorical("dense", (2, 4))
    return adapter_from_flat(flat)


def _expert(name: str) -> dict[str, Any]:
    return {"form": name} if name in FORMS else {"form": "parallel", "activation": name}


def _routing(trial: optuna.Trial) -> dict[str, Any]:
    # One categorical for both, so that top-k never exceeds the number of experts.
    ratio = trial.suggest_categorical("routing", ("1/2", "1/4", "2/4", "4/4", "2/8", "8/8"))
    top_k, num_experts = map(int, ratio.split("/"))
    return {
        "top_k": top_k,
        "num_experts": num_experts,
        "balance": trial.suggest_float("balance", 0.0, 0.02),
        # With one expert per token the router would get no gradient.
        "normalize_top_k": top_k > 1 and trial.suggest_categorical("normalize", (False, True)),
    }


SPACE = SearchSpace(task="arithmetic", training=training, suggest=suggest, num_trials=256)
