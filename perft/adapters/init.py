"""Draws the initial tensors of an adapter, on CPU in fp32, from a generator.

Two initialisations (docs/method.md), between which a learning rate does not transfer:

    "lora"   down ~ kaiming-uniform, up = 0: the adapter starts as an exact no-op
    "perft"  down ~ N(0, 2/r), up ~ 1e-6 N(0, 1): the PERFT authors' choice

What other tensors start as, and which start otherwise, variants and forms declare (`Start`).
"""

import math

import torch
from torch import Tensor

from perft.adapters.config import AdapterConfig
from perft.adapters.table import variant_of
from perft.adapters.tensors import Shapes, Start

CPU = torch.device("cpu")
"""Said at every draw: the generator is the CPU's, and torch's default device may be another."""
DOWN = ("perft_down", "lora_A")
"""How the kinds of down-projections end; a kind may begin with the parameter it is beside."""
UP = ("perft_up", "lora_B")
"""How the kinds of up-projections end."""


def draw(config: AdapterConfig, shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """Draws one tensor for each kind in `shapes`, in that order."""
    declared = variant_of(config).starts(config)
    return {
        kind: _draw(declared.get(kind) or _by_init(config, kind, shape), shape, generator)
        for kind, shape in shapes.items()
    }


def _by_init(config: AdapterConfig, kind: str, shape: tuple[int, ...]) -> Start:
    if kind.endswith(UP):
        return Start() if config.init == "lora" else Start(normal=1e-6)
    assert kind.endswith(DOWN), f"{config.variant} does not declare how {kind} starts"
    if config.init == "lora":  # kaiming-uniform with a = sqrt(5), as LoRA does
        return Start(uniform=1.0 / math.sqrt(shape[-1]))
    return Start(normal=math.sqrt(2.0 / config.rank))


def _draw(start: Start, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if start.uniform:
        drawn = torch.rand(shape, generator=generator, device=CPU)
        return (drawn * 2.0 - 1.0) * start.uniform
    if start.normal:
        return torch.randn(shape, generator=generator, device=CPU) * start.normal
    return torch.zeros(shape, device=CPU)
