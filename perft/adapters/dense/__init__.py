"""PERFT-D: y = y0 + sum_j D_j(x). M PEFT experts, all always on, without 1/M."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from perft.adapters.config import LARGEST_SIZE, Option
from perft.adapters.declaration import Variant
from perft.adapters.experts import ExpertsConfig, expert_shapes, expert_size, expert_starts
from perft.adapters.geometry import BlockGeometry
from perft.adapters.tensors import Shapes
from perft.checks import require_positive


@dataclass(frozen=True, kw_only=True)
class DenseConfig(ExpertsConfig):
    """PERFT-D: `num_experts` PEFT experts per MoE block, all always on, summed without 1/M."""

    variant: ClassVar[str] = "perft-d"

    num_experts: Annotated[int, Option("PEFT experts", at_least=1, at_most=LARGEST_SIZE)]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("num_experts", self.num_experts, LARGEST_SIZE)


def shapes(config: DenseConfig, block: BlockGeometry) -> Shapes:
    """The shapes of M PEFT experts."""
    return expert_shapes(config, config.num_experts, block.hidden_size)


def activated(config: DenseConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: M 2Dr."""
    return config.num_experts * expert_size(config, block.hidden_size)


VARIANT = Variant(
    example=DenseConfig(rank=1, num_experts=2),
    label="D",
    attach="moe block",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.dense.mathematics",
    hf_storage="PERFT",
    starts=expert_starts,
)
