"""The variants: a folder for each, one table, and what they share.

A variant's folder has two files. `__init__.py` has its configuration, the sizes of its tensors, and
its declaration (`declaration.Variant`), which everything else in perft reads. It is free of torch.
`mathematics.py` has its computation: a pure function of tensors that reads like its equation,
imported when needed. `forms` has the same layout for the forms of PEFT experts. `table.TABLE` and
`forms.FORMS` list them. Nothing here knows a model family.
"""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from perft.adapters.config import AdapterConfig
from perft.adapters.geometry import Geometry
from perft.adapters.table import TABLE, variant_of
from perft.adapters.tensors import Shapes

if TYPE_CHECKING:
    from torch import Tensor

    from perft.adapters.block import BlockInput
    from perft.adapters.dropout import Drop
    from perft.adapters.routing import LayerRouting
    from perft.adapters.weights import Weights

__all__ = ["activated", "apply_beside_block", "apply_to_linear", "merge", "shapes"]


def shapes(config: AdapterConfig, geometry: Geometry) -> Shapes:
    """Shapes of the adapter's tensors at one place, by kind.

    Args:
        config: the adapter.
        geometry: of the MoE block (PERFT), the (O, I) shape of the weight (LoRA), or the fused
            weights of the block (LoRA on the base experts).
    """
    return variant_of(config).shapes(config, geometry)


def activated(config: AdapterConfig, geometry: Geometry) -> int:
    """Parameters of the adapter that one token uses at one place."""
    return variant_of(config).activated(config, geometry)


def apply_beside_block(
    config: AdapterConfig, weights: "Weights", block: "BlockInput"
) -> "tuple[Tensor, LayerRouting | None]":
    """The adapter's output (T, D) beside an MoE block, and its routing if it has a router."""
    out = _mathematics_of(config.variant).apply(config, weights, block)
    return out if isinstance(out, tuple) else (out, None)


def apply_to_linear(
    config: AdapterConfig, weights: "Weights", x_TI: "Tensor", drop: "Drop"
) -> "Tensor":
    """The update (T, O) that the adapter adds to a linear layer's output for its input `x_TI`."""
    added: Tensor = _mathematics_of(config.variant).apply(config, weights, x_TI, drop)
    return added


def merge(config: AdapterConfig, weights: "Weights", weight_OI: "Tensor") -> "Tensor":
    """A weight with the adapter merged in, in the adapter's dtype, with gradient to its tensors."""
    merged: Tensor = _mathematics_of(config.variant).merge(config, weights, weight_OI)
    return merged


@cache
def _mathematics_of(variant: str) -> ModuleType:
    return import_module(TABLE[variant].mathematics)
