"""Converts the LoRA baselines to and from HF PEFT's layout of plain LoRA folders.

For a module with one weight, the keys are `<path>.lora_A.weight` and `<path>.lora_B.weight`. Fused
experts have several: `peft` wraps the module once for each, the first one innermost, so that of n
weights, weight i is n - 1 - i `base_layer`s deep. Its pairs are flat: with E base experts, rank R,
I inputs and O outputs, `lora_A` is (E R, I), expert after expert, and `lora_B` is (O, R E), rank
after rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from perft.adapters.table import variant_of
from perft.config import AdapterConfig
from perft.tensor_keys import LORA_A, LoraKey, TensorKey, key_of, lora_kind, module_and_name


def to_peft(
    config: AdapterConfig, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Converts a LoRA baseline to `peft`'s layout.

    Returns:
        The tensors by `peft`'s keys, without its prefix, and the fields of its configuration. They
        name full paths, so that no other module of any family matches.
    """
    own = {TensorKey.parse(key): tensor for key, tensor in tensors.items()}
    weights = list(dict.fromkeys(key.weight for key in own))
    storage = variant_of(config).hf_storage
    if storage == "fused parameters":
        found = dict(_flat(key, tensor, weights) for key, tensor in own.items())
    else:
        found = {str(LoraKey(key.path, key.matrix)): tensor for key, tensor in own.items()}
    on_weight = storage != "modules"
    return found, {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.scale * config.rank,
        "lora_dropout": config.dropout,
        "bias": "none",
        "target_modules": [] if on_weight else sorted(module_and_name(w)[0] for w in weights),
        "target_parameters": weights if on_weight else None,
    }


def from_peft(
    config: AdapterConfig, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Inverts `to_peft`.

    Raises:
        ValueError: if the settings do not name a tensor.
    """
    found = {LoraKey.parse(key): tensor for key, tensor in tensors.items()}
    if variant_of(config).hf_storage == "fused parameters":
        weights = settings.get("target_parameters") or ()
        return dict(_of_experts(key, t, weights, config.rank) for key, t in found.items())
    if deeper := [str(key) for key in found if key.depth]:
        raise ValueError(f"{deeper[0]} is of a module that has several weights")
    return {key_of(key.path, key.matrix): tensor for key, tensor in found.items()}


def _flat(key: TensorKey, tensor: Tensor, weights: Sequence[str]) -> tuple[str, Tensor]:
    siblings = _weights_of(key.path, weights)
    depth = len(siblings) - 1 - siblings.index(key.weight)
    flat = tensor.flatten(0, 1) if key.matrix == LORA_A else tensor.permute(1, 2, 0).flatten(1)
    return str(LoraKey(key.path, key.matrix, depth)), flat


def _of_experts(
    key: LoraKey, flat: Tensor, weights: Sequence[str], rank: int
) -> tuple[str, Tensor]:
    siblings = _weights_of(key.path, weights)
    if key.depth >= len(siblings):
        raise ValueError(f"{key} belongs to none of the weights {', '.join(weights)}")
    _, name = module_and_name(siblings[len(siblings) - 1 - key.depth])
    if key.matrix == LORA_A:
        tensor = flat.view(-1, rank, flat.shape[1])
    else:
        tensor = flat.view(len(flat), rank, -1).permute(2, 0, 1)
    return key_of(key.path, lora_kind(name, key.matrix)), tensor


def _weights_of(module: str, weights: Sequence[str]) -> list[str]:
    """The weights of one module, in their order."""
    return [weight for weight in weights if module_and_name(weight)[0] == module]
