"""LoRA on the fused weights of the base experts: W_e + (alpha/r) B_e A_e for every base expert e.

The MoE-agnostic baseline that HF PEFT calls `target_parameters`.

Shapes: E base experts, R rank, I inputs, O outputs. Each fused weight has one pair per base
expert: `<weight>_lora_A` is (E, R, I) and `<weight>_lora_B` is (E, O, R), whichever way round the
family stores the weight.
"""

from dataclasses import dataclass

from torch import Tensor

from perft.adapters.bottleneck import Shapes, Weights
from perft.config import LoraExpertsConfig


@dataclass(frozen=True)
class FusedWeight:
    """One weight of all base experts of a block: its name, E, O and I."""

    name: str
    experts: int
    outputs: int
    inputs: int


@dataclass(frozen=True)
class FusedGeometry:
    """The fused weights of one MoE block's base experts, and base experts per token, K."""

    weights: tuple[FusedWeight, ...]
    top_k: int


def shapes(config: LoraExpertsConfig, fused: FusedGeometry) -> Shapes:
    """The pair of every weight, in the order of the weights."""
    found: dict[str, tuple[int, ...]] = {}
    for weight in fused.weights:
        found[f"{weight.name}_lora_A"] = (weight.experts, config.rank, weight.inputs)
        found[f"{weight.name}_lora_B"] = (weight.experts, weight.outputs, config.rank)
    return found


def merge(
    config: LoraExpertsConfig, weights: Weights, name: str, weight: Tensor, transposed: bool
) -> Tensor:
    """The weight `name` with every expert's update, in its own dtype, with gradient to A and B.

    Args:
        config: rank and scale.
        weights: the pairs.
        name: which weight.
        weight: (E, O, I), or (E, I, O) if `transposed`.
        transposed: which way round the family stores it.
    """
    update_EOI = config.scale * (weights[f"{name}_lora_B"] @ weights[f"{name}_lora_A"])
    update = update_EOI.transpose(1, 2) if transposed else update_EOI
    # Added in the adapter's dtype: in bf16 the sum would be rounded twice.
    return (weight.to(update.dtype) + update).to(weight.dtype)


def activated(config: LoraExpertsConfig, fused: FusedGeometry) -> int:
    """Parameters that one token uses per block: K r (I + O), summed over the weights."""
    width = sum(weight.outputs + weight.inputs for weight in fused.weights)
    return fused.top_k * config.rank * width
