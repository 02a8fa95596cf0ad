"""PERFT-E: y = sum_{i in TopK(G(x))} G_i(x) (E_i(x) + D_i(x)), with the frozen base router G."""

from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.declaration import Variant
from perft.adapters.experts import ExpertsConfig, expert_shapes, expert_size, expert_starts
from perft.adapters.geometry import BlockGeometry
from perft.adapters.tensors import Shapes


@dataclass(frozen=True, kw_only=True)
class EmbeddedConfig(ExpertsConfig):
    """PERFT-E: one PEFT expert per base expert, routed by the frozen base router."""

    variant: ClassVar[str] = "perft-e"


def shapes(config: EmbeddedConfig, block: BlockGeometry) -> Shapes:
    """The shapes of E PEFT experts."""
    return expert_shapes(config, block.num_experts, block.hidden_size)


def activated(config: EmbeddedConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: K 2Dr."""
    return block.top_k * expert_size(config, block.hidden_size)


VARIANT = Variant(
    example=EmbeddedConfig(rank=1),
    label="E",
    attach="moe block",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.embedded.mathematics",
    hf_storage="PERFT",
    starts=expert_starts,
    needs_base_routing=True,
)
