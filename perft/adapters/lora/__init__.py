"""Ordinary LoRA, W + (alpha/r) B A in place of W: the MoE-agnostic baselines.

Shapes: R rank, I inputs, O outputs. `lora_A` is (R, I) and `lora_B` is (O, R), as in HF PEFT.
"""

from perft.adapters.config import AdapterConfig
from perft.adapters.tensors import Shapes


def shapes(config: AdapterConfig, weight: tuple[int, int]) -> Shapes:
    """`lora_A` (R, I) and `lora_B` (O, R) beside a weight of shape (O, I)."""
    outputs, inputs = weight
    return {"lora_A": (config.rank, inputs), "lora_B": (outputs, config.rank)}


def activated(config: AdapterConfig, weight: tuple[int, int]) -> int:
    """Parameters that one token uses beside a weight of shape (O, I): r (I + O)."""
    return config.rank * sum(weight)
