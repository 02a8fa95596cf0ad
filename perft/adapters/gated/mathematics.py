"""PERFT-G: y = y0 + sigmoid(w x) D_0(x), with the gate's product and sigmoid in fp32."""

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import apply_experts
from perft.adapters.gated import GatedConfig
from perft.adapters.routing import Routing
from perft.adapters.weights import Weights


def apply(config: GatedConfig, weights: Weights, block: BlockInput) -> Tensor:
    """sigmoid(w x) D_0(x), shape (T, D)."""
    gate_1D = weights["perft_gate"]
    weight_T1 = F.linear(block.x_TD.to(gate_1D.dtype), gate_1D).sigmoid()
    # Every token is routed to the only expert, with its gate as weight.
    routing = Routing(weight_T1, torch.zeros_like(weight_T1, dtype=torch.long))
    return apply_experts(config, weights, block.x_TD, block.drop, routing)
