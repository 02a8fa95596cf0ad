"""The PEFT expert D(x), batched: M of them are two matrix products, never a loop over experts.

Shapes: T tokens, D hidden size, M PEFT experts, R rank.

    form "lora"      D(x) = (alpha/r) B A drop(x)
    form "parallel"  D(x) = W2 f(drop(W1 x)), f(z) = z sigmoid(z) (silu) unless set

(arXiv 2411.08212, section 3.) `down_MRD` holds A or W1, `up_MRD` holds B or W2 transposed. All M
experts are computed for every token and the gates multiply the bottleneck, so that a token that
is not routed to an expert gets exactly nothing from it. Weights are masters in fp32 (fp64 on an
fp64 base); products run in the dtype of the hidden states.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.config import Activation, ExpertsConfig

Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
Drop = Callable[[Tensor], Tensor]

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
    drop: Drop,
    gate_TM: Tensor | None = None,
) -> Tensor:
    """Sums the PEFT experts' outputs, weighted by their gates.

    Args:
        config: rank, scale and form of the experts.
        weights: `perft_down` and `perft_up`, both (M, R, D).
        x_TD: hidden states that enter the MoE block.
        drop: dropout of this place, the identity in evaluation.
        gate_TM: weight of each expert for each token; None weighs every expert 1.

    Returns:
        y_TD, in the dtype of `x_TD`.
    """
    down_MRD = weights["perft_down"].to(x_TD.dtype)
    if config.form == "lora":
        # The scale goes to the weights: there are far fewer of them than of activations.
        up_MRD = weights["perft_up"] * config.scale
        h_TH = F.linear(drop(x_TD), down_MRD.flatten(0, 1))
    else:
        up_MRD = weights["perft_up"]
        h_TH = ACTIVATIONS[config.activation](drop(F.linear(x_TD, down_MRD.flatten(0, 1))))
    if gate_TM is not None:
        h_TMR = h_TH.view(-1, *down_MRD.shape[:2]) * gate_TM.to(h_TH.dtype).unsqueeze(-1)
        h_TH = h_TMR.flatten(1)
    return h_TH @ up_MRD.to(x_TD.dtype).flatten(0, 1)
