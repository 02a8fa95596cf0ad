"""PERFT-E: y = sum_{i in TopK(G(x))} G_i(x) (E_i(x) + D_i(x)), with the frozen base router G."""

from torch import Tensor

from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import apply_experts
from perft.adapters.embedded import EmbeddedConfig
from perft.adapters.weights import Weights


def apply(config: EmbeddedConfig, weights: Weights, block: BlockInput) -> Tensor:
    """sum_i G_i(x) D_i(x) over the base router's choice, shape (T, D)."""
    assert block.routing is not None, "the host captures the base router's choice for PERFT-E"
    return apply_experts(config, weights, block.x_TD, block.drop, block.routing)
