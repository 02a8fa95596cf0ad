"""PERFT-D: y = y0 + sum_j D_j(x). M PEFT experts, all always on, without 1/M."""

from torch import Tensor

from perft.adapters.block import BlockGeometry, BlockInput
from perft.adapters.bottleneck import Shapes, Weights, apply_experts, expert_shapes
from perft.config import DenseConfig


def shapes(config: DenseConfig, block: BlockGeometry) -> Shapes:
    """`perft_down` and `perft_up`, both (M, R, D)."""
    return expert_shapes(config, config.num_experts, block.hidden_size)


def apply(config: DenseConfig, weights: Weights, block: BlockInput) -> Tensor:
    """sum_j D_j(x), shape (T, D)."""
    return apply_experts(config, weights, block.x_TD, block.drop)


def activated(config: DenseConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: M 2Dr."""
    return config.num_experts * 2 * block.hidden_size * config.rank
