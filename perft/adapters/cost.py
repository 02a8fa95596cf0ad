"""Decides whether routed PEFT experts are cheaper dense and masked, or grouped.

Forward and backward, per token:

    dense     12 D M R flops: six products, over all M experts
    grouped   12 D K R flops, and 14 K D elements moved: K rows of x (twice) and of the output's
              gradient are gathered, K rows of the output and of x's gradient written and summed,
              all through memory, since no product reads or writes its rows by an index

On a machine that does `balance` flops in the time of moving a byte, grouped is cheaper when

    M R > K (R + 14/12 element_bytes balance)

The number of tokens cancels, so an adapter is computed the same way alone and in any pack.

Shapes: D hidden size, M PEFT experts, R rank, K experts per token.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from perft.grouped import ALIGNMENT

MOVED_PER_FLOP = 14 / 12
"""Elements that grouping moves per flop of one unit of rank."""

# CPU: measured on one core with AMX, allocation included (docs/performance.md). GPU: bf16 flops
# over bandwidth, from data sheets. There is no grouped product in fp64, nor in fp32 on a GPU.
BALANCE: Mapping[tuple[str, torch.dtype], float] = {
    ("cpu", torch.float32): 35.0,
    ("cpu", torch.bfloat16): 200.0,
    ("cuda", torch.bfloat16): 200.0,
}


def grouped_pays(
    num_experts: int, top_k: int, rank: int, *, element_bytes: int, balance: float
) -> bool:
    """Whether the grouped computation is the cheaper one.

    Args:
        num_experts: M.
        top_k: K.
        rank: R.
        element_bytes: size of a hidden state's number.
        balance: flops of a dense product in the time of moving one byte.
    """
    moved = MOVED_PER_FLOP * element_bytes * balance
    return num_experts * rank > top_k * (rank + moved)


def is_grouped(down_MRD: Tensor, top_k: int) -> bool:
    """Whether experts with these weights, in the dtype of the products, are computed grouped."""
    num_experts, rank, hidden_size = down_MRD.shape
    size = down_MRD.element_size()
    balance = BALANCE.get((down_MRD.device.type, down_MRD.dtype))
    if balance is None or rank * size % ALIGNMENT or hidden_size * size % ALIGNMENT:
        return False
    return grouped_pays(num_experts, top_k, rank, element_bytes=size, balance=balance)
