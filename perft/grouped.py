"""Products of (token, choice) pairs with the matrices of the chosen experts, without a loop.

Each (token, choice) is a pair. Sorted by expert, all pairs go through one grouped product, without
a synchronisation to learn how many pairs each expert has:

    dispatch   h_n = W_e(n) x_t(n)                  (T, I) -> (N, O)
    combine    y_t = sum of W_e(n)^T h_n            (N, I) -> (T, O)

Each is the other's derivative, so the backward pass uses the same two: it gathers, and neither
sorts nor scatters. Results are deterministic, on a GPU too. For a frozen weight autograd keeps only
the pairs' indices, for a trainable one also x or h.

Shapes: T tokens, M experts, K choices per token, N = T K pairs, I inputs, O outputs.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.compat.transformers import grouped_mm_fallback, grouped_mm_fallback_backward

ALIGNMENT = 16
"""A grouped product needs rows of a multiple of so many bytes."""
MAX_GROUPS = 1023
"""Largest number of groups of a grouped product on a GPU."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of (token, choice), sorted by expert.

    Attributes:
        token_N: each pair's token.
        expert_N: each pair's expert, ascending.
        order_N: each pair's index among the T K choices, token after token.
        place_TK: each choice's index among the sorted pairs.
        end_M: index after each expert's last pair.
    """

    token_N: Tensor
    expert_N: Tensor
    order_N: Tensor
    place_TK: Tensor
    end_M: Tensor

    def joined(self, size: int) -> "Pairs":
        """The same pairs, with every `size` consecutive experts merged into one."""
        return dataclasses.replace(
            self,
            expert_N=self.expert_N // size,
            end_M=self.end_M[size - 1 :: size].contiguous(),
        )


def sort_pairs(index_TK: Tensor, num_experts: int) -> Pairs:
    """Sorts the choices by expert; those of one expert stay in the order of the tokens."""
    expert_N, order_N = index_TK.flatten().sort(stable=True)
    each_M = torch.arange(num_experts, device=index_TK.device)
    each_N = torch.arange(len(order_N), device=index_TK.device)
    return Pairs(
        token_N=order_N // index_TK.shape[1],
        expert_N=expert_N,
        order_N=order_N,
        place_TK=torch.empty_like(order_N).scatter(0, order_N, each_N).view(index_TK.shape),
        end_M=torch.searchsorted(expert_N, each_M, right=True, out_int32=True),
    )


def by_pair(value_TK: Tensor, pairs: Pairs) -> Tensor:
    """Values by token and choice, (T, K), in the order of the pairs, (N,)."""
    indices = (pairs.order_N, pairs.place_TK)
    value_N: Tensor = _ByPair.apply(value_TK, *indices)  # type: ignore[no-untyped-call]
    return value_N


def dispatch(x_TI: Tensor, weight_MOI: Tensor, pairs: Pairs) -> Tensor:
    """Each pair's token times its expert's matrix, (N, O)."""
    indices = (pairs.token_N, pairs.place_TK, pairs.end_M)
    h_NO: Tensor = _Dispatch.apply(x_TI, weight_MOI, *indices)  # type: ignore[no-untyped-call]
    return h_NO


def combine(h_NI: Tensor, weight_MIO: Tensor, pairs: Pairs) -> Tensor:
    """The sum over each token's pairs, each times its expert's matrix, (T, O)."""
    indices = (pairs.token_N, pairs.place_TK, pairs.end_M)
    y_TO: Tensor = _Combine.apply(h_NI, weight_MIO, *indices)  # type: ignore[no-untyped-call]
    return y_TO


def product(x_NI: Tensor, weight_MIO: Tensor, end_M: Tensor) -> Tensor:
    """Each row times the matrix of its group, (N, O); rows are sorted by group.

    There is no kernel for fp64, for unaligned sizes, and for fp32 under compilation: a loop over
    groups replaces it, which waits for the device.
    """
    if _has_kernel(x_NI, *weight_MIO.shape[1:]):
        return F.grouped_mm(x_NI, weight_MIO, offs=end_M)
    found: Tensor = grouped_mm_fallback(x_NI, weight_MIO, end_M)
    return found


def _outer(x_NI: Tensor, grad_NO: Tensor, end_M: Tensor) -> Tensor:
    """The gradient of each group's matrix: x_n grad_n^T summed over its rows, (M, I, O)."""
    inputs, outputs = x_NI.shape[1], grad_NO.shape[1]
    if _has_kernel(x_NI, inputs, outputs):
        return F.grouped_mm(x_NI.T, grad_NO, offs=end_M)
    # The operator also returns the rows' gradient, which is not used: zero matrices suffice.
    weight_MIO = x_NI.new_zeros(1).expand(len(end_M), inputs, outputs)
    gradient: Tensor = grouped_mm_fallback_backward(x_NI, weight_MIO, end_M, grad_NO)[1]
    return gradient


def _has_kernel(x_NI: Tensor, *widths: int) -> bool:
    if any(width * x_NI.element_size() % ALIGNMENT for width in widths):
        return False
    return x_NI.dtype == torch.bfloat16 or (
        x_NI.dtype == torch.float32 and not torch.compiler.is_compiling()
    )


def _sum_pairs(y_NO: Tensor, place_TK: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # fuses with what follows
        return y_NO[place_TK].sum(1)
    return F.embedding_bag(place_TK, y_NO, mode="sum")  # sums the K rows as it reads them


class _ByPair(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value_TK: Tensor, order_N: Tensor, place_TK: Tensor) -> Tensor:
        ctx.save_for_backward(place_TK)
        return value_TK.flatten().index_select(0, order_N)

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None, None]:
        (place_TK,) = ctx.saved_tensors
        return grad_N[place_TK], None, None


class _Dispatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TI: Tensor, weight_MOI: Tensor, *indices: Tensor) -> Tensor:
        token_N, place_TK, end_M = indices
        kept = x_TI if weight_MOI.requires_grad else None
        ctx.save_for_backward(kept, weight_MOI, token_N, place_TK, end_M)
        return product(x_TI.index_select(0, token_N), weight_MOI.transpose(1, 2), end_M)

    @staticmethod
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:
        x_TI, weight_MOI, token_N, place_TK, end_M = ctx.saved_tensors
        grad_TI = grad_MOI = None
        if ctx.needs_input_grad[0]:
            grad_TI = _sum_pairs(product(grad_NO, weight_MOI, end_M), place_TK)
        if ctx.needs_input_grad[1]:
            grad_MOI = _outer(grad_NO, x_TI.index_select(0, token_N), end_M)
        return grad_TI, grad_MOI, None, None, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_NI: Tensor, weight_MIO: Tensor, *indices: Tensor) -> Tensor:
        token_N, place_TK, end_M = indices
        kept = h_NI if weight_MIO.requires_grad else None
        ctx.save_for_backward(kept, weight_MIO, token_N, end_M)
        return _sum_pairs(product(h_NI, weight_MIO, end_M), place_TK)

    @staticmethod
    def backward(ctx: Any, grad_TO: Tensor) -> tuple[Tensor | None, ...]:
        h_NI, weight_MIO, token_N, end_M = ctx.saved_tensors
        grad_NI = grad_MIO = None
        grad_NO = grad_TO.index_select(0, token_N)
        if ctx.needs_input_grad[0]:
            grad_NI = product(grad_NO, weight_MIO.transpose(1, 2), end_M)
        if ctx.needs_input_grad[1]:
            grad_MIO = _outer(h_NI, grad_NO, end_M)
        return grad_NI, grad_MIO, None, None, None
