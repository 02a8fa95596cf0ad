"""Draws the initial tensors of an adapter, on CPU in fp32, from a generator.

Two initialisations (docs/method.md), between which a learning rate does not transfer:

    "lora"   down ~ kaiming-uniform, up = 0: the adapter starts as an exact no-op
    "perft"  down ~ N(0, 2/r), up ~ 1e-6 N(0, 1): the PERFT authors' choice

Variants and forms declare the start of all other tensors (`Start`).
"""

import math

import torch
from torch import Tensor

from perft.adapters.config import AdapterConfig
from perft.adapters.table import variant_of
from perft.adapters.tensors import Shapes, Start

CPU = torch.device("cpu")
"""Passed to every draw: the generator is on the CPU, but torch's default device may not be."""
DOWN = ("perft_down", "lora_A")
"""Suffixes of the kinds of down-projections; a kind may start with its parameter's name."""
UP = ("perft_up", "lora_B")
"""Suffixes of the kinds of up-projections."""


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
