"""Computes a base's frozen experts with less work than transformers' implementations.

It is transformers' grouped product, written for frozen weights. Per (token, choice)
pair, forward and backward, with hidden size D and experts of width F:

                      products          rows gathered or summed    kept
    "grouped_mm"      12 D F flops      x, y, and both gradients   3 F + D numbers
    ours              12 D F flops      the same, none scattered   2 F numbers

Ours keeps the first product's output; the activation is cheap to repeat. Keeping only x, and
repeating that product too, would cost 4 D F flops more, a third. The routing weight multiplies the
activation and not the output: the second product is linear, and a weight's gradient is then found
in rows of width F, without the outputs of width D.

Only experts of transformers' `ExpertsInterface` are changed; a family with its own code for
experts keeps that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from perft.compat.transformers import (
    ExpertsInterface,
    grouped_mm_experts_forward,
    is_divided,
)
from perft.grouped import Pairs, by_pair, combine, dispatch, sort_pairs
from perft.models.activation import weighted_activation

OURS = "frozen_grouped_mm"
"""The name of our implementation in transformers' interface."""


@dataclass(frozen=True)
class Update:
    """What adapters add to the two products of the experts.

    Attributes:
        adapters: number of adapters, A.
        adapter_T: each token's adapter.
        up: what they add to the first product, (N, 2F), given the tokens (T, D).
        down: what they add to the sum of the second product, (T, D), given its input (N, F).

    `up` and `down` are given the pairs too, sorted by expert and within one by adapter, as if
    there were E A experts.
    """

    adapters: int
    adapter_T: Tensor
    up: Callable[[Tensor, Pairs], Tensor]
    down: Callable[[Tensor, Pairs], Tensor]


def use_frozen_experts(model: PreTrainedModel) -> None:
    """Makes a frozen base compute its experts with our implementation, where that can.

    Quantized experts are left as they are: they have an interface of their own.
    """
    if getattr(model, "hf_quantizer", None) is None:
        ExpertsInterface.register(OURS, experts_forward)
        model.set_experts_implementation(OURS)


def is_computable(experts: nn.Module) -> bool:
    """Whether `experts_forward` can compute these experts: those of transformers' interface.

    False if a norm follows the second product, or if ranks hold different experts.
    """
    return (
        hasattr(experts, "has_gate")
        and not experts.has_post_expert_norm
        and not is_divided(experts)
    )


def experts_forward(
    experts: Any,
    hidden_states: Tensor,
    top_k_index: Tensor,
    top_k_weights: Tensor,
    update: Update | None = None,
) -> Tensor:
    """The weighted sum of each token's experts.

    Args:
        experts: module of transformers' interface, with whatever gate, biases and activation.
        hidden_states: (T, D).
        top_k_index: chosen experts, (T, K).
        top_k_weights: their weights, (T, K).
        update: what adapters add.

    Returns:
        (T, D), in the dtype of `hidden_states`.
    """
    if not is_computable(experts):
        assert update is None, "adapters go on experts that are computable"
        whole: Tensor = grouped_mm_experts_forward(
            experts, hidden_states, top_k_index, top_k_weights
        )
        return whole
    up_EOI, down_EIO = _weights(experts)
    x_TD = hidden_states.to(up_EOI.dtype)  # under autocast they may differ
    pairs, fine = _pairs(top_k_index, experts.num_experts, update)
    h_NF = dispatch(x_TD, up_EOI, pairs)
    if experts.has_bias:
        bias_EF = experts.gate_up_proj_bias if experts.has_gate else experts.up_proj_bias
        h_NF = h_NF + bias_EF.index_select(0, pairs.expert_N)
    if update is not None:
        h_NF = h_NF + update.up(x_TD, fine)
    h_NF = weighted_activation(experts, h_NF, by_pair(top_k_weights, pairs))
    y_TD = combine(h_NF, down_EIO, pairs)
    if experts.has_bias:
        y_TD = y_TD + _biases(experts.down_proj_bias, top_k_index, top_k_weights)
    if update is not None:
        y_TD = y_TD + update.down(h_NF, fine)
    return y_TD.to(hidden_states.dtype)


def _weights(experts: Any) -> tuple[Tensor, Tensor]:
    """The first product's (E, 2F, D) and the second's (E, F, D), however they are stored."""
    up = experts.gate_up_proj if experts.has_gate else experts.up_proj
    if experts.is_transposed:
        return up.transpose(1, 2), experts.down_proj
    return up, experts.down_proj.transpose(1, 2)


def _pairs(index_TK: Tensor, num_experts: int, update: Update | None) -> tuple[Pairs, Pairs]:
    """The pairs by expert, and by expert and adapter; they come in the same order."""
    if update is None:
        pairs = sort_pairs(index_TK, num_experts)
        return pairs, pairs
    key_TK = index_TK * update.adapters + update.adapter_T.unsqueeze(-1)
    fine = sort_pairs(key_TK, num_experts * update.adapters)
    return fine.joined(update.adapters), fine


def _biases(bias_ED: Tensor, index_TK: Tensor, weight_TK: Tensor) -> Tensor:
    """The weighted sum of each token's biases."""
    per_token = weight_TK.to(bias_ED.dtype)
    return nn.functional.embedding_bag(index_TK, bias_ED, per_sample_weights=per_token, mode="sum")
