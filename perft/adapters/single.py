"""PERFT-S: y = y0 + D_0(x). One PEFT expert, always on (arXiv 2411.08212, section 3.2)."""

from torch import Tensor

from perft.adapters.block import BlockGeometry, BlockInput
from perft.adapters.bottleneck import Shapes, Weights, apply_experts, expert_shapes
from perft.config import SingleConfig


def shapes(config: SingleConfig, block: BlockGeometry) -> Shapes:
    """`perft_down` and `perft_up`, both (1, R, D)."""
    return expert_shapes(config, 1, block.hidden_size)


def apply(config: SingleConfig, weights: Weights, block: BlockInput) -> Tensor:
    """D_0(x), shape (T, D)."""
    return apply_experts(config, weights, block.x_TD, block.drop)


def activated(config: SingleConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: 2Dr."""
    return 2 * block.hidden_size * config.rank
