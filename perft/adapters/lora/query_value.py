"""LoRA on the attention's query and value projections."""

from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.config import AdapterConfig
from perft.adapters.declaration import Variant
from perft.adapters.lora import activated, shapes


@dataclass(frozen=True, kw_only=True)
class LoraQVConfig(AdapterConfig):
    """MoE-agnostic baseline: LoRA on the attention's `q_proj` and `v_proj`."""

    variant: ClassVar[str] = "lora-qv"


VARIANT = Variant(
    example=LoraQVConfig(rank=1),
    label="LoRA q,v",
    attach="attention",
    projections=("query", "value"),
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.lora.mathematics",
    hf_storage="modules",
)
