"""The interface to transformers: the linear layers of a base's attention."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from perft.adapters.declaration import ProjectionKind, Variant
from perft.adapters.table import TABLE, for_every_block
from perft.errors import BaseModelError, listed
from perft.models.blocks import base_name, decoder_layers

_KINDS = ("Attention", "MLA")  # in the names of attention modules
_NAMES: Mapping[ProjectionKind, tuple[str, ...]] = {
    "query": ("q_proj", "q"),
    "value": ("v_proj", "v"),
}


@dataclass(frozen=True)
class Projection:
    """One linear layer of an attention module.

    Attributes:
        path: dotted path in the model.
        linear: the layer.
        layer: decoder layer that it is in, from 0.
        number: its index among all of the base, first layer first.
    """

    path: str
    linear: nn.Linear
    layer: int
    number: int

    @property
    def name(self) -> str:
        """What the attention module calls it."""
        return self.path.rpartition(".")[2]


def attention_projections(model: PreTrainedModel) -> tuple[Projection, ...]:
    """The linear layers of every attention module in the decoder, first layer first.

    Raises:
        BaseModelError: if there is none.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    found = [
        (f"{paths[id(attention)]}.{name}", linear, layer)
        for layer, module in enumerate(decoder_layers(model))
        for attention in module.modules()
        if any(kind in type(attention).__name__ for kind in _KINDS)
        for name, linear in attention.named_children()
        if isinstance(linear, nn.Linear) and type(linear).forward is nn.Linear.forward
    ]
    if not found:
        raise BaseModelError(
            f"base {base_name(model)!r} has no attention with linear layers for LoRA; "
            f"{for_every_block()} go beside its MoE blocks"
        )
    return tuple(Projection(*projection, i) for i, projection in enumerate(found))


def projections_of(
    variant: Variant, projections: tuple[Projection, ...], base: str
) -> tuple[Projection, ...]:
    """The projections that a variant goes on.

    Args:
        variant: one that goes on attention.
        projections: all of a base.
        base: what it is called, for the message.

    Raises:
        BaseModelError: if the family keeps one of them together with something else.
    """
    for kind in variant.projections:
        if not any(projection.name in _NAMES[kind] for projection in projections):
            known = ", ".join(sorted({projection.name for projection in projections}))
            raise BaseModelError(
                f"the attention of base {base!r} has no {kind} projection of its own, so "
                f"{variant.name} cannot be put on it; {_for_all_projections()} goes on all that "
                f"it has: {known}"
            )
    if not variant.projections:
        return projections
    wanted = {name for kind in variant.projections for name in _NAMES[kind]}
    return tuple(p for p in projections if p.name in wanted)


def _for_all_projections() -> str:
    return listed(v.name for v in TABLE.values() if v.attach == "attention" and not v.projections)
