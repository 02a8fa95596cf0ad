"""PERFT-R: y = y0 + sum_{j in TopK(G(x))} G_j(x) D_j(x), with a trainable router G of its own.

G = softmax(W x) over the M PEFT experts in fp32, then top-K. (The authors' OLMoE code multiplies
by the base router's weights instead; this is the equation of the paper.)
"""

from torch import Tensor
from torch.nn import functional as F

from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import apply_experts
from perft.adapters.routed import RoutedConfig
from perft.adapters.routing import LayerRouting, choose
from perft.adapters.weights import Weights


def apply(config: RoutedConfig, weights: Weights, block: BlockInput) -> tuple[Tensor, LayerRouting]:
    """The routed sum, shape (T, D), and the routing of this block's PEFT router."""
    router_MD = weights["perft_router"]
    prob_TM = F.linear(block.x_TD.to(router_MD.dtype), router_MD).softmax(-1)
    routing = choose(prob_TM, config.top_k, config.normalize_top_k)
    y_TD = apply_experts(config, weights, block.x_TD, block.drop, routing)
    return y_TD, LayerRouting(prob_TM, routing.index_TK)
