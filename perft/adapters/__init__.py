"""PEFT variants as pure functions of tensors: one file per variant, reading like its equation.

Nothing here knows a model family. Every variant has `shapes`, `apply` and `activated`; the
functions below choose the variant by the type of its configuration.
"""

from collections.abc import Mapping
from types import ModuleType

from torch import Tensor

from perft.adapters import dense, embedded, lora, lora_experts, routed, single
from perft.adapters.block import BlockGeometry, BlockInput
from perft.adapters.bottleneck import Shapes, Weights
from perft.adapters.lora_experts import FusedGeometry
from perft.adapters.routing import LayerRouting
from perft.config import AdapterConfig

__all__ = ["Geometry", "Shapes", "activated", "apply_beside_block", "shapes"]

Geometry = BlockGeometry | FusedGeometry | tuple[int, int]

_VARIANTS: Mapping[str, ModuleType] = {
    "perft-r": routed,
    "perft-e": embedded,
    "perft-d": dense,
    "perft-s": single,
    "lora-qv": lora,
    "lora-attention": lora,
    "lora-router": lora,
    "lora-experts": lora_experts,
}


def shapes(config: AdapterConfig, geometry: Geometry) -> Shapes:
    """Shapes of the adapter's tensors at one place, by kind.

    Args:
        config: the adapter.
        geometry: of the MoE block (PERFT), the (O, I) shape of the weight (LoRA), or the fused
            weights of the block (LoRA on the base experts).
    """
    found: Shapes = _VARIANTS[config.variant].shapes(config, geometry)
    return found


def activated(config: AdapterConfig, geometry: Geometry) -> int:
    """Parameters of the adapter that one token uses at one place."""
    number: int = _VARIANTS[config.variant].activated(config, geometry)
    return number


def apply_beside_block(
    config: AdapterConfig, weights: Weights, block: BlockInput
) -> tuple[Tensor, LayerRouting | None]:
    """The adapter's output (T, D) beside an MoE block, and how it routed if it has a router."""
    out = _VARIANTS[config.variant].apply(config, weights, block)
    return out if isinstance(out, tuple) else (out, None)
