"""The LoRA baselines as HF PEFT lays them out, so that their folders are plain LoRA folders.

Of a module with one weight, the keys are `<path>.lora_A.weight` and `<path>.lora_B.weight`. Fused
experts have several: `peft` wraps the module once for each, the first one innermost, so that of n
weights, weight i lies n - 1 - i `base_layer`s deep. Its pairs are flat: of E base
experts, rank R, I inputs and O outputs, `lora_A` is (E R, I), expert after expert, and `lora_B` is
(O, R E), rank after rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from perft.adapters.table import variant_of
from perft.config import AdapterConfig

_DEEPER = ".base_layer"


def to_peft(
    config: AdapterConfig, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Lays out a LoRA baseline for `peft`.

    Returns:
        The tensors by `peft`'s keys, without its prefix, and the fields of its configuration. They
        name whole paths, so that the adapter goes nowhere else on any family.
    """
    weights = list(dict.fromkeys(_weight_of(key) for key in tensors))
    storage = variant_of(config).hf_storage
    if storage == "fused parameters":
        found = dict(_flat(key, tensor, weights) for key, tensor in tensors.items())
    else:
        found = {key.replace(".adapters.", ".") + ".weight": t for key, t in tensors.items()}
    on_weight = storage != "modules"
    return found, {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.scale * config.rank,
        "lora_dropout": config.dropout,
        "bias": "none",
        "target_modules": [] if on_weight else sorted(w.rpartition(".")[0] for w in weights),
        "target_parameters": weights if on_weight else None,
    }


def from_peft(
    config: AdapterConfig, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Takes back what `to_peft` returned.

    Raises:
        ValueError: if a tensor is none of those that the settings name.
    """
    if variant_of(config).hf_storage == "fused parameters":
        weights = settings.get("target_parameters") or ()
        return dict(_of_experts(key, t, weights, config.rank) for key, t in tensors.items())
    found = {}
    for key, tensor in tensors.items():
        path, kind = key.removesuffix(".weight").rsplit(".", 1)
        found[f"{path}.adapters.{kind}"] = tensor
    return found


def _weight_of(key: str) -> str:
    """The path of the weight that a tensor belongs to."""
    path, _, kind = key.rpartition(".adapters.")
    name = kind.removesuffix("lora_A").removesuffix("lora_B").removesuffix("_")
    return f"{path}.{name or 'weight'}"


def _flat(key: str, tensor: Tensor, weights: Sequence[str]) -> tuple[str, Tensor]:
    path = key.rpartition(".adapters.")[0]
    siblings = [weight for weight in weights if weight.rpartition(".")[0] == path]
    path += _DEEPER * (len(siblings) - 1 - siblings.index(_weight_of(key)))
    if key.endswith("lora_A"):
        return f"{path}.lora_A.weight", tensor.flatten(0, 1)
    return f"{path}.lora_B.weight", tensor.permute(1, 2, 0).flatten(1)


def _of_experts(key: str, flat: Tensor, weights: Sequence[str], rank: int) -> tuple[str, Tensor]:
    path, kind = key.removesuffix(".weight").rsplit(".", 1)
    module, depth = path.replace(_DEEPER, ""), path.count(_DEEPER)
    siblings = [weight for weight in weights if weight.rpartition(".")[0] == module]
    if depth >= len(siblings):
        raise ValueError(f"{key} belongs to none of the weights {', '.join(weights)}")
    name = siblings[len(siblings) - 1 - depth].rpartition(".")[2]
    if kind == "lora_A":
        tensor = flat.view(-1, rank, flat.shape[1])
    else:
        tensor = flat.view(len(flat), rank, -1).permute(2, 0, 1)
    return f"{module}.adapters.{name}_{kind}", tensor
