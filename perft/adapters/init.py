"""Draws the initial tensors of an adapter, on CPU in fp32, from a generator.

Two initialisations (docs/method.md), between which a learning rate does not transfer:

    "lora"   down ~ kaiming-uniform, up = 0: the adapter starts as an exact no-op
    "perft"  down ~ N(0, 2/r), up ~ 1e-6 N(0, 1): the PERFT authors' choice

A PEFT router is drawn from N(0, 0.02) in both.
"""

import math

import torch
from torch import Tensor

from perft.adapters.bottleneck import Shapes
from perft.config import AdapterConfig

ROUTER_STD = 0.02
DOWN = frozenset({"perft_down", "lora_A"})
UP = frozenset({"perft_up", "lora_B"})


def draw(config: AdapterConfig, shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """Draws one tensor for each kind in `shapes`, in that order."""
    return {kind: _draw(config, kind, shape, generator) for kind, shape in shapes.items()}


def _draw(
    config: AdapterConfig, kind: str, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    if kind in UP and config.init == "lora":
        return torch.zeros(shape)
    if kind in DOWN and config.init == "lora":
        bound = 1.0 / math.sqrt(shape[-1])  # kaiming-uniform with a = sqrt(5), as LoRA does
        return (torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound
    std = math.sqrt(2.0 / config.rank) if kind in DOWN else 1e-6 if kind in UP else ROUTER_STD
    return torch.randn(shape, generator=generator) * std
