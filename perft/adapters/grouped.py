"""Routed PEFT experts computed for the tokens that chose them, and for no other.

Each (token, choice) is a pair. Pairs sorted by expert make the experts' products two grouped ones,
without a loop over experts and without waiting for the device to say how many pairs each has:

    narrow   h_n = W_e(n) x_t(n)             (T, D) -> (N, R)
    widen    y_t = sum of W_e(n)^T h_n       (N, R) -> (T, D)

Each is the other's derivative, so the backward pass is made of the same two. What is kept for it
is x and the bottleneck, never the N rows of width D. No product here adds into a row from several
places at once: results repeat bit for bit, on a GPU too.

Shapes: T tokens, D hidden size, M PEFT experts, R rank, K choices per token, N = T K pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.adapters.routing import Routing


@dataclass(frozen=True)
class Pairs:
    """The pairs of (token, choice), sorted by expert.

    Attributes:
        token_N: each pair's token.
        expert_N: each pair's expert, ascending.
        order_N: each pair's place among the T K choices, token after token.
        place_TK: where the sorted pairs have each choice.
        end_M: the pair after each expert's last.
    """

    token_N: Tensor
    expert_N: Tensor
    order_N: Tensor
    place_TK: Tensor
    end_M: Tensor


def sort_pairs(index_TK: Tensor, num_experts: int) -> Pairs:
    """Sorts the choices by expert; those of one expert stay in the order of the tokens."""
    expert_N, order_N = index_TK.flatten().sort(stable=True)
    each_M = torch.arange(num_experts, device=index_TK.device)
    return Pairs(
        token_N=order_N // index_TK.shape[1],
        expert_N=expert_N,
        order_N=order_N,
        place_TK=order_N.argsort().view(index_TK.shape),
        end_M=torch.searchsorted(expert_N, each_M, right=True, out_int32=True),
    )


def grouped_experts(
    down_MRD: Tensor,
    up_MRD: Tensor,
    x_TD: Tensor,
    routing: Routing,
    *,
    activate: Callable[[Tensor], Tensor],
    drop: Callable[[Tensor], Tensor],
) -> Tensor:
    """The sum over each token's choices k of g_k up^T f(drop(down x)), of the chosen expert.

    Args:
        down_MRD: first product of each expert, in the dtype of `x_TD`.
        up_MRD: second product of each expert, likewise.
        x_TD: hidden states.
        routing: chosen experts and their weights; an expert chosen twice counts twice.
        activate: f.
        drop: dropout of all M R units of a token's bottlenecks.

    Returns:
        y_TD, in the dtype of `x_TD`.
    """
    num_experts, rank, _ = down_MRD.shape
    pairs = sort_pairs(routing.index_TK, num_experts)
    # Units of experts that a token did not choose are drawn too, so that what is dropped does not
    # depend on the routing. Where nothing is, one number stands for all T M R.
    kept_TH = drop(x_TD.new_ones(1, dtype=torch.float32).expand(len(x_TD), num_experts * rank))
    kept_NR = kept_TH.view(-1, num_experts, rank)[pairs.token_N, pairs.expert_N]
    h_NR: Tensor = _Narrow.apply(x_TD, down_MRD, pairs)  # type: ignore[no-untyped-call]
    h_NR = activate((h_NR * kept_NR).to(x_TD.dtype))
    gate_N1 = routing.weight_TK.flatten()[pairs.order_N].unsqueeze(-1)
    h_NR = h_NR * gate_N1.to(h_NR.dtype)
    y_TD: Tensor = _Widen.apply(h_NR, up_MRD, pairs)  # type: ignore[no-untyped-call]
    return y_TD


def _narrow(x_ND: Tensor, weight_MRD: Tensor, pairs: Pairs) -> Tensor:
    return F.grouped_mm(x_ND, weight_MRD.transpose(1, 2), offs=pairs.end_M)


def _widen(h_NR: Tensor, weight_MRD: Tensor, pairs: Pairs) -> Tensor:
    y_ND = F.grouped_mm(h_NR, weight_MRD, offs=pairs.end_M)
    # Sums the K rows of each token as it reads them.
    return F.embedding_bag(pairs.place_TK, y_ND, mode="sum")


def _outer(h_NR: Tensor, x_ND: Tensor, pairs: Pairs) -> Tensor:
    """The gradient of a weight: h_n x_t(n)^T summed over each expert's pairs, (M, R, D)."""
    return F.grouped_mm(h_NR.T, x_ND, offs=pairs.end_M)


class _Narrow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, weight_MRD: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x_TD, weight_MRD)
        ctx.pairs = pairs
        return _narrow(x_TD.index_select(0, pairs.token_N), weight_MRD, pairs)

    @staticmethod
    def backward(ctx: Any, grad_NR: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x_TD, weight_MRD = ctx.saved_tensors
        pairs, wants_x = ctx.pairs, ctx.needs_input_grad[0]
        grad_TD = _widen(grad_NR, weight_MRD, pairs) if wants_x else None
        return grad_TD, _outer(grad_NR, x_TD.index_select(0, pairs.token_N), pairs), None


class _Widen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_NR: Tensor, weight_MRD: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(h_NR, weight_MRD)
        ctx.pairs = pairs
        return _widen(h_NR, weight_MRD, pairs)

    @staticmethod
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor, Tensor, None]:
        h_NR, weight_MRD = ctx.saved_tensors
        grad_ND = grad_TD.index_select(0, ctx.pairs.token_N)
        return _narrow(grad_ND, weight_MRD, ctx.pairs), _outer(h_NR, grad_ND, ctx.pairs), None
