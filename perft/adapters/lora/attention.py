"""LoRA on every linear layer of the attention."""

from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.config import AdapterConfig
from perft.adapters.declaration import Variant
from perft.adapters.lora import activated, shapes


@dataclass(frozen=True, kw_only=True)
class LoraAttentionConfig(AdapterConfig):
    """MoE-agnostic baseline: LoRA on all linear layers of the attention."""

    variant: ClassVar[str] = "lora-attention"


VARIANT = Variant(
    example=LoraAttentionConfig(rank=1),
    label="attention",
    attach="attention",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.lora.mathematics",
    hf_storage="modules",
)
