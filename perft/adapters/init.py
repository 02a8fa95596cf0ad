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
CPU = torch.device("cpu")
"""Said at every draw: the generator is the CPU's, and torch's default device may be another."""
DOWN = ("perft_down", "lora_A")
"""How the kinds of down-projections end; a kind may begin with the parameter it is beside."""
UP = ("perft_up", "lora_B")
"""How the kinds of up-projections end."""


def draw(config: AdapterConfig, shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """Draws one tensor for each kind in `shapes`, in that order."""
    return {kind: _draw(config, kind, shape, generator) for kind, shape in shapes.items()}


def _draw(
    config: AdapterConfig, kind: str, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    if kind.endswith(UP) and config.init == "lora":
        return torch.zeros(shape, device=CPU)
    if kind.endswith(DOWN) and config.init == "lora":
        bound = 1.0 / math.sqrt(shape[-1])  # kaiming-uniform with a = sqrt(5), as LoRA does
        return (torch.rand(shape, generator=generator, device=CPU) * 2.0 - 1.0) * bound
    std = ROUTER_STD
    if kind.endswith(DOWN):
        std = math.sqrt(2.0 / config.rank)
    elif kind.endswith(UP):
        std = 1e-6
    return torch.randn(shape, generator=generator, device=CPU) * std
