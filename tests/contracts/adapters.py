"""One small configuration of every variant and form, and how tests put them to use."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from contracts.bases import VOCABULARY
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
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

# The six, and every form and option that changes what an adapter computes.
EVERY: dict[str, AdapterConfig] = {
    **SIX,
    "perft-r-parallel": RoutedConfig(rank=3, num_experts=3, top_k=2, form="parallel"),
    "perft-r-normalized": RoutedConfig(rank=3, num_experts=4, top_k=2, normalize_top_k=True),
    "perft-r-one-of-two": RoutedConfig(rank=3, num_experts=2, top_k=1, alpha=5.0),
    "perft-e-parallel": EmbeddedConfig(rank=2, form="parallel"),
    "perft-d-parallel": DenseConfig(rank=3, num_experts=2, form="parallel"),
    "perft-s-parallel": SingleConfig(rank=4, form="parallel"),
    "lora-qv-alpha": LoraQVConfig(rank=3, alpha=1.0),
    "lora-attention": LoraAttentionConfig(rank=2),
    "lora-experts": LoraExpertsConfig(rank=2),
    "perft-r-gelu": RoutedConfig(
        rank=3, num_experts=3, top_k=2, form="parallel", activation="gelu"
    ),
}


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
