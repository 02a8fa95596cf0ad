"""Ordinary LoRA, the MoE-agnostic baseline: on linear layers and on a router's weight.

Shapes: R rank, I inputs, O outputs. `lora_A` is (R, I) and `lora_B` is (O, R), as in HF PEFT.
"""

from torch import Tensor
from torch.nn import functional as F

from perft.adapters.bottleneck import Shapes, Weights, factor_of
from perft.adapters.dropout import NO_DROP, Drop
from perft.config import LoraAttentionConfig, LoraQVConfig, LoraRouterConfig

LoraConfig = LoraQVConfig | LoraAttentionConfig | LoraRouterConfig


def shapes(config: LoraConfig, weight: tuple[int, int]) -> Shapes:
    """`lora_A` (R, I) and `lora_B` (O, R) beside a weight of shape (O, I)."""
    outputs, inputs = weight
    return {"lora_A": (config.rank, inputs), "lora_B": (outputs, config.rank)}


def apply(config: LoraConfig, weights: Weights, x_TI: Tensor, drop: Drop = NO_DROP) -> Tensor:
    """(alpha/r) B A drop(x), shape (T, O), in the dtype of `x_TI`.

    Args:
        config: rank and scale.
        weights: `lora_A` and `lora_B`.
        x_TI: the layer's input.
        drop: dropout of this place, none in evaluation.
    """
    up_OR = weights["lora_B"] * factor_of(config, drop)
    down_RI = weights["lora_A"].to(x_TI.dtype)
    return F.linear(F.linear(drop.zero(x_TI), down_RI), up_OR.to(x_TI.dtype))


def merge(config: LoraConfig, weights: Weights, weight_OI: Tensor) -> Tensor:
    """W + (alpha/r) B A, in the adapter's dtype, with gradient to A and B."""
    return weight_OI.to(weights["lora_A"].dtype) + config.scale * (
        weights["lora_B"] @ weights["lora_A"]
    )


def activated(config: LoraConfig, weight: tuple[int, int]) -> int:
    """Parameters that one token uses beside a weight of shape (O, I): r (I + O)."""
    return config.rank * sum(weight)
