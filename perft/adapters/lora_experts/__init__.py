"""LoRA on the fused weights of the base experts: W_e + (alpha/r) B_e A_e for every base expert e.

The MoE-agnostic baseline that HF PEFT calls `target_parameters`.

Shapes: E base experts, R rank, I inputs, O outputs. Each fused weight has one pair of matrices per
base expert: `<weight>_lora_A` is (E, R, I) and `<weight>_lora_B` is (E, O, R), even if the family
stores the weight transposed.
"""

from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.config import LoraWeightConfig
from perft.adapters.declaration import Variant
from perft.adapters.geometry import FusedGeometry
from perft.adapters.tensors import Shapes


@dataclass(frozen=True, kw_only=True)
class LoraExpertsConfig(LoraWeightConfig):
    """MoE-agnostic baseline: LoRA on the fused weights of the base experts, one pair for each."""

    variant: ClassVar[str] = "lora-experts"


def shapes(config: LoraExpertsConfig, fused: FusedGeometry) -> Shapes:
    """The pair of every weight, in the order of the weights."""
    found: dict[str, tuple[int, ...]] = {}
    for weight in fused.weights:
        found[f"{weight.name}_lora_A"] = (weight.experts, config.rank, weight.inputs)
        found[f"{weight.name}_lora_B"] = (weight.experts, weight.outputs, config.rank)
    return found


def activated(config: LoraExpertsConfig, fused: FusedGeometry) -> int:
    """Parameters that one token uses per block: K r (I + O), summed over the weights."""
    width = sum(weight.outputs + weight.inputs for weight in fused.weights)
    return fused.top_k * config.rank * width


VARIANT = Variant(
    example=LoraExpertsConfig(rank=1),
    label="experts",
    attach="base experts",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.lora_experts.mathematics",
    hf_storage="fused parameters",
)
