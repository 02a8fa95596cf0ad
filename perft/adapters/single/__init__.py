"""PERFT-S: y = y0 + D_0(x). One PEFT expert, always on (arXiv 2411.08212, section 3.2)."""

from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.declaration import Variant
from perft.adapters.experts import ExpertsConfig, expert_shapes, expert_size, expert_starts
from perft.adapters.geometry import BlockGeometry
from perft.adapters.tensors import Shapes


@dataclass(frozen=True, kw_only=True)
class SingleConfig(ExpertsConfig):
    """PERFT-S: one PEFT expert per MoE block, always on."""

    variant: ClassVar[str] = "perft-s"


def shapes(config: SingleConfig, block: BlockGeometry) -> Shapes:
    """The shapes of one PEFT expert."""
    return expert_shapes(config, 1, block.hidden_size)


def activated(config: SingleConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: 2Dr."""
    return expert_size(config, block.hidden_size)


VARIANT = Variant(
    example=SingleConfig(rank=1),
    label="S",
    attach="moe block",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.single.mathematics",
    hf_storage="PERFT",
    starts=expert_starts,
)
