"""Routing weights of PEFT experts, and the metrics and balance losses of routers.

Shapes: T tokens, M PEFT experts, E base experts, K experts per token, L layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Routing:
    """A router's choice: of a PEFT router, or of the frozen base router as the base uses it.

    Attributes:
        weight_TK: weights of the chosen experts; 0 for a choice that does not count.
        index_TK: the chosen experts.
    """

    weight_TK: Tensor
    index_TK: Tensor


@dataclass(frozen=True)
class LayerRouting:
    """The routing of some tokens by the router of one layer.

    Attributes:
        score_TM: its logits or its probabilities; with gradient.
        index_TK: the chosen experts.
    """

    score_TM: Tensor
    index_TK: Tensor


@dataclass(frozen=True)
class RouterSums:
    """Sums over tokens (and layers) from which a router's loss and metrics are computed.

    Attributes:
        load_M: tokens that chose each expert, no gradient.
        prob_M: sum of the router's probabilities, with gradient.
        entropy: sum of the entropies of the router's distribution, nats, no gradient.
        tokens: number of tokens counted.
    """

    load_M: Tensor
    prob_M: Tensor
    entropy: Tensor
    tokens: Tensor

    def __add__(self, other: "RouterSums") -> "RouterSums":
        return RouterSums(
            self.load_M + other.load_M,
            self.prob_M + other.prob_M,
            self.entropy + other.entropy,
            self.tokens + other.tokens,
        )


def choose(prob_TM: Tensor, top_k: int, normalize: bool) -> Routing:
    """The K most probable experts of each token, with their probabilities: softmax, then top-K.

    With `normalize` the K weights are divided by their sum.
    """
    weight_TK, index_TK = prob_TM.topk(top_k, dim=-1)
    if normalize:
        weight_TK = weight_TK / weight_TK.sum(dim=-1, keepdim=True)
    return Routing(weight_TK, index_TK)


def gates_of(routing: Routing, num_experts: int) -> Tensor:
    """Scatters the K weights per token to all M experts, zeros elsewhere; repeated choices sum."""
    weight_TK = routing.weight_TK
    gate_TM = weight_TK.new_zeros(weight_TK.shape[0], num_experts)
    return gate_TM.scatter_add(-1, routing.index_TK, weight_TK)


def sum_router(prob_LTM: Tensor, index_LTK: Tensor, mask_T: Tensor | None) -> RouterSums:
    """Sums the routing of all layers over the tokens, once per forward pass.

    Args:
        prob_LTM: the router's probabilities; (T, M) for one layer.
        index_LTK: the chosen experts, likewise.
        mask_T: false where a token is padding; None counts every token.
    """
    layers = prob_LTM.shape[:-2].numel()
    tokens, keep_T1 = prob_LTM.new_full((), layers * prob_LTM.shape[-2]), None
    if mask_T is not None:
        keep_T1 = mask_T.to(prob_LTM.dtype).unsqueeze(-1)
        tokens = keep_T1.sum() * layers
    with torch.no_grad():
        chosen_LTM = torch.zeros_like(prob_LTM).scatter(-1, index_LTK, 1.0)
        load_M = _over_tokens(chosen_LTM, keep_T1)
        entropy = _over_tokens(torch.special.entr(prob_LTM), keep_T1).sum()
    return RouterSums(load_M, _over_tokens(prob_LTM, keep_T1), entropy, tokens)


def _over_tokens(value_LTM: Tensor, keep_T1: Tensor | None) -> Tensor:
    kept_LTM = value_LTM if keep_T1 is None else value_LTM * keep_T1
    return kept_LTM.flatten(0, -2).sum(0)


def load_balancing_loss(sums: RouterSums, load_M: Tensor, tokens: Tensor) -> Tensor:
    """Switch-style loss M sum_j f_j P_j, with f_j the load and P_j the mean probability.

    All K choices count in f, so the loss is K when perfectly uniform (as in transformers).

    Args:
        sums: this process's part, whose probabilities carry the gradient.
        load_M: tokens per expert over all processes.
        tokens: tokens over all processes.

    Returns:
        This process's part of the loss; the loss is the sum over all processes.
    """
    return load_M.numel() * (load_M / tokens * (sums.prob_M / tokens)).sum()
