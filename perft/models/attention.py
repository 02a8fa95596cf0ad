"""The seam to transformers: the linear layers of a base's attention."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from perft.errors import BaseModelError
from perft.models.blocks import base_name, decoder_layers

_KINDS = ("Attention", "MLA")  # in the names of attention modules
_QUERY = ("q_proj", "q")
_VALUE = ("v_proj", "v")


@dataclass(frozen=True)
class Projection:
    """One linear layer of an attention module.

    Attributes:
        path: dotted path in the model.
        linear: the layer.
        layer: decoder layer that it is in, from 0.
        number: counts all of them, first layer first.
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
            "perft-r, perft-d and perft-s go beside its MoE blocks"
        )
    return tuple(Projection(*projection, i) for i, projection in enumerate(found))


def query_and_value(projections: tuple[Projection, ...], base: str) -> tuple[Projection, ...]:
    """Those that make the queries and the values.

    Args:
        projections: all of a base.
        base: what it is called, for the message.

    Raises:
        BaseModelError: if the family keeps either together with something else.
    """
    for kind, names in (("query", _QUERY), ("value", _VALUE)):
        if not any(projection.name in names for projection in projections):
            known = ", ".join(sorted({projection.name for projection in projections}))
            raise BaseModelError(
                f"the attention of base {base!r} has no {kind} projection of its own, so lora-qv "
                f"cannot be put on it; lora-attention goes on all that it has: {known}"
            )
    return tuple(p for p in projections if p.name in _QUERY + _VALUE)
