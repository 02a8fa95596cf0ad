"""Routed PEFT experts computed only for the tokens that chose them.

Two grouped products over (token, choice) pairs, see `perft.grouped`: one from tokens to the pairs'
bottlenecks, the other from bottlenecks back to tokens. The backward pass keeps x and the
bottleneck, never the N rows of width D.

Shapes: T tokens, D hidden size, M PEFT experts, R rank, K choices per token, N = T K pairs.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from perft.adapters.routing import Routing
from perft.grouped import by_pair, combine, dispatch, sort_pairs


def grouped_experts(
    down_MRD: Tensor,
    up_MRD: Tensor,
    x_TD: Tensor,
    routing: Routing,
    *,
    activate: Callable[[Tensor], Tensor],
    zero: Callable[[Tensor], Tensor],
) -> Tensor:
    """The sum over each token's choices k of g_k up_k^T f(zero(down_k x)).

    Args:
        down_MRD: first product of each expert, in the dtype of `x_TD`.
        up_MRD: second product of each expert, likewise.
        x_TD: hidden states.
        routing: chosen experts and their weights; an expert chosen twice counts twice.
        activate: f.
        zero: dropout over all M R units of a token's bottlenecks.

    Returns:
        y_TD, in the dtype of `x_TD`.
    """
    num_experts, rank, _ = down_MRD.shape
    pairs = sort_pairs(routing.index_TK, num_experts)
    # Draws include units of experts that a token did not choose, so that dropout does not depend on
    # the routing. Without dropout, one number is broadcast to all T M R.
    kept_TH = zero(x_TD.new_ones(1, dtype=torch.float32).expand(len(x_TD), num_experts * rank))
    kept_NR = kept_TH.view(-1, num_experts, rank)[pairs.token_N, pairs.expert_N]
    h_NR = dispatch(x_TD, down_MRD, pairs)
    h_NR = activate((h_NR * kept_NR).to(x_TD.dtype))
    gate_N1 = by_pair(routing.weight_TK, pairs).unsqueeze(-1)
    h_NR = h_NR * gate_N1.to(h_NR.dtype)
    return combine(h_NR, up_MRD, pairs)
