"""Form "dora": D(x) = m * (B A drop(x)) / |B A|, with a learned magnitude m of each output.

Shapes: M PEFT experts, R rank, D hidden size. `perft_up` holds B transposed.
"""

import torch
from torch import Tensor

from perft.adapters.config import AdapterConfig
from perft.adapters.dropout import Drop
from perft.adapters.products import Products, same
from perft.adapters.weights import Weights

SMALLEST = 1e-12
"""Smallest norm of a row of B A; the output of a shorter row is 0 instead of NaN."""


def products(_config: AdapterConfig, weights: Weights, drop: Drop) -> Products:
    """A, and B with rows divided by |B A| and multiplied by m and by dropout's gain."""
    down_MRD, up_MRD = weights["perft_down"], weights["perft_up"]
    by_MD = drop.gain * weights["perft_magnitude"] / row_norms(down_MRD, up_MRD)
    return Products(down_MRD, up_MRD * by_MD.unsqueeze(1), zero_input=drop.zero, activate=same)


@torch.no_grad()
def row_norms(down_MRD: Tensor, up_MRD: Tensor) -> Tensor:
    """|B A|, (M, D): the norm of each output's row, detached from the gradient (DoRA, section 4.3).

    The squared norm of row b A is b (A A^T) b^T, so the D x D product is never computed.
    """
    gram_MRR = down_MRD @ down_MRD.transpose(1, 2)
    square_MD = (up_MRD * (gram_MRR @ up_MRD)).sum(1)
    return square_MD.clamp_min(SMALLEST**2).sqrt()
