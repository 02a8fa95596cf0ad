"""One small configuration of every variant and form, and how tests put them to use."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from contracts.bases import VOCABULARY
from perft.adapters.forms import FORMS
from perft.adapters.table import TABLE
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    ExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.errors import BaseModelError
from perft.injection import AdapterHost

# The six variants, by name: what is packed together.
SIX: dict[str, AdapterConfig] = {
    "perft-r": RoutedConfig(rank=3, num_experts=3, top_k=2),
    "perft-e": EmbeddedConfig(rank=2),
    "perft-d": DenseConfig(rank=3, num_experts=2),
    "perft-s": SingleConfig(rank=4),
    "lora-qv": LoraQVConfig(rank=3),
    "lora-router": LoraRouterConfig(rank=2),
}

# The six, and a small one of every other variant of the table.
ONE_OF_EACH: dict[str, AdapterConfig] = {
    **SIX,
    **{n: dataclasses.replace(v.example, rank=2) for n, v in TABLE.items() if n not in SIX},
}

# The forms that are not a PEFT expert's by default, of every variant that has PEFT experts.
OTHER_FORMS: dict[str, AdapterConfig] = {
    f"{name}-{form}": dataclasses.replace(config, form=form)
    for name, config in ONE_OF_EACH.items()
    if isinstance(config, ExpertsConfig)
    for form in FORMS
    if form != config.form
}

# All of these, and every option that changes what an adapter computes.
EVERY: dict[str, AdapterConfig] = {
    **ONE_OF_EACH,
    **OTHER_FORMS,
    "perft-r-normalized": RoutedConfig(rank=3, num_experts=4, top_k=2, normalize_top_k=True),
    "perft-r-one-of-two": RoutedConfig(rank=3, num_experts=2, top_k=1, alpha=5.0),
    "lora-qv-alpha": LoraQVConfig(rank=3, alpha=1.0),
    "perft-r-gelu": RoutedConfig(
        rank=3, num_experts=3, top_k=2, form="parallel", activation="gelu"
    ),
}


def with_init(init: str) -> list[str]:
    """Those of `EVERY` that can start by `init`."""
    return [
        name
        for name, config in EVERY.items()
        if not isinstance(config, ExpertsConfig) or init in FORMS[config.form].inits
    ]


def randomize(host: AdapterHost, name: str, seed: int = 0) -> None:
    """Gives an adapter a generic state, far from its initial one."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in host.tensors(name).values():
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.data.copy_(0.3 * noise)


def add_random(host: AdapterHost, name: str, config: AdapterConfig, seed: int = 0) -> None:
    """Adds an adapter in a generic state."""
    host.add(name, config, seed=seed)
    randomize(host, name, seed)


def token_ids(rows: int, length: int = 7, seed: int = 0) -> Tensor:
    """Random token ids without padding, (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCABULARY, (rows, length), generator=generator)


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Summed cross-entropy of each token given those before it."""
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"
    )


def take_gradients(host: AdapterHost, name: str) -> dict[str, Tensor]:
    """The gradients of an adapter's tensors, by key; they are cleared."""
    found = {}
    for key, tensor in host.tensors(name).items():
        assert tensor.grad is not None, f"{key} of {name} has no gradient"
        found[key], tensor.grad = tensor.grad, None
    return found


def possible(host: AdapterHost, configs: Mapping[str, AdapterConfig]) -> dict[str, AdapterConfig]:
    """Those that the base has places for: docs/models.md says which, and why not the others."""

    def fits(config: AdapterConfig) -> bool:
        try:
            host.size(config)
        except BaseModelError:
            return False
        return True

    return {name: config for name, config in configs.items() if fits(config)}
