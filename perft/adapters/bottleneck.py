"""The PEFT expert D(x), batched: M of them are two matrix products, never a loop over experts.

Shapes: T tokens, D hidden size, M PEFT experts, R rank, H = M R.

    form "lora"      D(x) = (alpha/r) B A drop(x)
    form "parallel"  D(x) = W2 f(drop(W1 x)), f(z) = z sigmoid(z) (silu) unless set

(arXiv 2411.08212, section 3.) `down_MRD` holds A or W1, `up_MRD` holds B or W2 transposed. Routed
experts are computed dense and masked, for every token, with gates that multiply the bottleneck; or
grouped (`grouped.py`), where that is cheaper (`cost.py`). Both give the same, and a token that is
not routed to an expert gets exactly nothing from it. Weights are masters in fp32 (fp64 on an fp64
base); products run in the dtype of the hidden states.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.adapters.cost import is_grouped
from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.grouped import grouped_experts
from perft.adapters.routing import Routing, gates_of
from perft.config import Activation, AdapterConfig, ExpertsConfig

Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda z: F.relu(z).square(),
    "silu": F.silu,
    "tanh": torch.tanh,
}


def master_dtype(base: torch.dtype) -> torch.dtype:
    """The dtype of adapter weights beside a base of dtype `base`: fp32, or fp64 beside fp64."""
    return torch.promote_types(base, torch.float32)


def expert_shapes(config: ExpertsConfig, num_experts: int, hidden_size: int) -> Shapes:
    """Shapes of M = `num_experts` PEFT experts: `perft_down` and `perft_up`, both (M, R, D)."""
    shape = (num_experts, config.rank, hidden_size)
    return {"perft_down": shape, "perft_up": shape}


def apply_experts(
    config: ExpertsConfig,
    weights: Weights,
    x_TD: Tensor,
    drop: Drop = NO_DROP,
    routing: Routing | None = None,
) -> Tensor:
    """Sums the PEFT experts' outputs, weighted as they are routed.

    Args:
        config: rank, scale and form of the experts.
        weights: `perft_down` and `perft_up`, both (M, R, D).
        x_TD: hidden states that enter the MoE block.
        drop: dropout of this place, none in evaluation.
        routing: each token's experts and their weights; None weighs every expert 1.

    Returns:
        y_TD, in the dtype of `x_TD`.
    """
    down_MRD, up_MRD, zero = weights["perft_down"], weights["perft_up"], drop.zero
    activate = ACTIVATIONS[config.activation]
    by = factor_of(config, drop)
    # The factor goes to the weights: there are far fewer of them than of activations.
    if config.form == "lora":
        up_MRD = up_MRD * by
        x_TD = zero(x_TD)
        activate = zero = _same
    elif drop is not NO_DROP:
        down_MRD = down_MRD * by
    down_MRD, up_MRD = down_MRD.to(x_TD.dtype), up_MRD.to(x_TD.dtype)
    if routing is not None and is_grouped(down_MRD, routing.index_TK.shape[-1]):
        return grouped_experts(down_MRD, up_MRD, x_TD, routing, activate=activate, zero=zero)
    gate_TM = None if routing is None else gates_of(routing, len(down_MRD))
    return all_experts(down_MRD, up_MRD, x_TD, gate_TM, activate=activate, zero=zero)


def factor_of(config: AdapterConfig, drop: Drop) -> float:
    """What multiplies a low-rank product: scale and dropout's gain, without scale if parallel."""
    parallel = isinstance(config, ExpertsConfig) and config.form == "parallel"
    return drop.gain if parallel else drop.gain * config.scale


def all_experts(
    down_MRD: Tensor,
    up_MRD: Tensor,
    x_TD: Tensor,
    gate_TM: Tensor | None,
    *,
    activate: Callable[[Tensor], Tensor],
    zero: Callable[[Tensor], Tensor],
) -> Tensor:
    """The sum over all M of g_j up^T f(zero(down x)): dense, and masked where a gate is zero."""
    h_TH = activate(zero(F.linear(x_TD, down_MRD.flatten(0, 1))))
    if gate_TM is not None:
        h_TMR = h_TH.view(-1, *down_MRD.shape[:2]) * gate_TM.to(h_TH.dtype).unsqueeze(-1)
        h_TH = h_TMR.flatten(1)
    return h_TH @ up_MRD.flatten(0, 1)


def _same(z: Tensor) -> Tensor:
    return z
