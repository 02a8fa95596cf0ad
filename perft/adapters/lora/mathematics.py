"""Ordinary LoRA: its update of a linear layer's output, and of a weight.

Shapes: T tokens, R rank, I inputs, O outputs.
"""

from torch import Tensor
from torch.nn import functional as F

from perft.adapters.config import AdapterConfig
from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.weights import Weights


def apply(config: AdapterConfig, weights: Weights, x_TI: Tensor, drop: Drop = NO_DROP) -> Tensor:
    """(alpha/r) B A drop(x), shape (T, O), in the dtype of `x_TI`.

    Args:
        config: rank and scale.
        weights: `lora_A` and `lora_B`.
        x_TI: the layer's input.
        drop: dropout of this place, none in evaluation.
    """
    up_OR = weights["lora_B"] * (drop.gain * config.scale)
    down_RI = weights["lora_A"].to(x_TI.dtype)
    return F.linear(F.linear(drop.zero(x_TI), down_RI), up_OR.to(x_TI.dtype))


def merge(config: AdapterConfig, weights: Weights, weight_OI: Tensor) -> Tensor:
    """W + (alpha/r) B A, in the adapter's dtype, with gradient to A and B."""
    return weight_OI.to(weights["lora_A"].dtype) + config.scale * (
        weights["lora_B"] @ weights["lora_A"]
    )
