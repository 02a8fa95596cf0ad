"""PERFT-G: y = y0 + sigmoid(w x) D_0(x). One PEFT expert behind a learned gate of its own.

The gate is that of a shared expert in Qwen2-MoE (arXiv 2407.10671), `shared_expert_gate`: each
token weights the expert's output, and no other expert competes. So there is neither top-K nor a
load to balance. The PERFT papers do not have this variant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.declaration import Variant
from perft.adapters.experts import ExpertsConfig, expert_shapes, expert_size, expert_starts
from perft.adapters.geometry import BlockGeometry
from perft.adapters.tensors import Shapes, Start


@dataclass(frozen=True, kw_only=True)
class GatedConfig(ExpertsConfig):
    """PERFT-G: one PEFT expert per MoE block, behind a learned sigmoid gate."""

    variant: ClassVar[str] = "perft-g"


def shapes(config: GatedConfig, block: BlockGeometry) -> Shapes:
    """The shapes of one PEFT expert, and `perft_gate` (1, D)."""
    return {**expert_shapes(config, 1, block.hidden_size), "perft_gate": (1, block.hidden_size)}


def activated(config: GatedConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: 2Dr + D."""
    return expert_size(config, block.hidden_size) + block.hidden_size


def starts(config: GatedConfig) -> Mapping[str, Start]:
    """The form's starts; the gate starts at zero, so that every token weights the expert 1/2."""
    return {**expert_starts(config), "perft_gate": Start()}


VARIANT = Variant(
    example=GatedConfig(rank=1),
    label="G",
    attach="moe block",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.gated.mathematics",
    hf_storage="PERFT",
    starts=starts,
)
