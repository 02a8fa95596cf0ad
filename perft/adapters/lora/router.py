"""LoRA on the base router's weight."""

from dataclasses import dataclass
from typing import ClassVar

from perft.adapters.config import LoraWeightConfig
from perft.adapters.declaration import Variant
from perft.adapters.lora import activated, shapes


@dataclass(frozen=True, kw_only=True)
class LoraRouterConfig(LoraWeightConfig):
    """MoE-agnostic baseline: LoRA on the base router's weight."""

    variant: ClassVar[str] = "lora-router"


VARIANT = Variant(
    example=LoraRouterConfig(rank=1),
    label="router",
    attach="router",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.lora.mathematics",
    hf_storage="parameters",
)
