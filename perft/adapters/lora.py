"""Ordinary LoRA, the MoE-agnostic baseline: on linear layers and on a router's weight.

Shapes: R rank, I inputs, O outputs. `lora_A` is (R, I) and `lora_B` is (O, R), as in HF PEFT.
"""

from torch import Tensor
from torch.nn import functional as F

from perft.adapters.bottleneck import Drop, Shapes, Weights
from perft.config import LoraAttentionConfig, LoraQVConfig, LoraRouterConfig

LoraConfig = LoraQVConfig | LoraAttentionConfig | LoraRouterConfig


def shapes(config: LoraConfig, weight: tuple[int, int]) -> Shapes:
    """`lora_A` (R, I) and `lora_B` (O, R) beside a weight of shape (O, I)."""
    outputs, inputs = weight
    return {"lora_A": (config.rank, inputs), "lora_B": (outputs, config.rank)}


def apply(config: LoraConfig, weights: Weights, x_TI: Tensor, drop: Drop) -> Tensor:
    """(alpha/r) B A drop(x), shape (T, O), in the dtype of `x_TI`."""
    up_OR = (weights["lora_B"] * config.scale).to(x_TI.dtype)
    return F.linear(F.linear(drop(x_TI), weights["lora_A"].to(x_TI.dtype)), up_OR)


def merge(config: LoraConfig, weights: Weights, weight_OI: Tensor) -> Tensor:
    """W + (alpha/r) B A, in the adapter's dtype, with gradient to A and B."""
    return weight_OI.to(weights["lora_A"].dtype) + config.scale * (
        weights["lora_B"] @ weights["lora_A"]
    )


def activated(config: LoraConfig, weight: tuple[int, int]) -> int:
    """Parameters that one token uses beside a weight of shape (O, I): r (I + O)."""
    return config.rank * sum(weight)
