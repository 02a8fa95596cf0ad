"""PERFT-E: y = sum_{i in TopK(G(x))} G_i(x) (E_i(x) + D_i(x)), with the frozen base router G."""

from torch import Tensor

from perft.adapters.block import BlockGeometry, BlockInput
from perft.adapters.bottleneck import Shapes, Weights, apply_experts, expert_shapes
from perft.config import EmbeddedConfig


def shapes(config: EmbeddedConfig, block: BlockGeometry) -> Shapes:
    """`perft_down` and `perft_up`, both (E, R, D)."""
    return expert_shapes(config, block.num_experts, block.hidden_size)


def apply(config: EmbeddedConfig, weights: Weights, block: BlockInput) -> Tensor:
    """sum_i G_i(x) D_i(x) over the base router's choice, shape (T, D)."""
    assert block.routing is not None, "the host captures the base router's choice for PERFT-E"
    return apply_experts(config, weights, block.x_TD, block.drop, block.routing)


def activated(config: EmbeddedConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: K 2Dr."""
    return block.top_k * 2 * block.hidden_size * config.rank
