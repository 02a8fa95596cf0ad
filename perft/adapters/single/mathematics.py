"""PERFT-S: y = y0 + D_0(x)."""

from torch import Tensor

from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import apply_experts
from perft.adapters.single import SingleConfig
from perft.adapters.weights import Weights


def apply(config: SingleConfig, weights: Weights, block: BlockInput) -> Tensor:
    """D_0(x), shape (T, D)."""
    return apply_experts(config, weights, block.x_TD, block.drop)
