"""PERFT-D: y = y0 + sum_j D_j(x)."""

from torch import Tensor

from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import apply_experts
from perft.adapters.dense import DenseConfig
from perft.adapters.weights import Weights


def apply(config: DenseConfig, weights: Weights, block: BlockInput) -> Tensor:
    """sum_j D_j(x), shape (T, D)."""
    return apply_experts(config, weights, block.x_TD, block.drop)
