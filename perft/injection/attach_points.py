"""The modules of a base that a variant attaches to, and the sizes of its tensors there."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from perft.adapters.declaration import Attach
from perft.adapters.geometry import BlockGeometry, FusedGeometry, FusedWeight, Geometry
from perft.adapters.table import for_every_block, variant_of
from perft.config import AdapterConfig
from perft.errors import AdapterError, BaseModelError
from perft.injection.fused import FusedSite
from perft.injection.router_site import RouterSite
from perft.injection.sites import BlockSite, CurrentLayout, LinearSite, Site
from perft.models.attention import attention_projections, projections_of
from perft.models.blocks import MoEBlock, base_name, decoder_layers, layer_numbers
from perft.models.fused import fused_weights

_KINDS: Mapping[Attach, type[BlockSite] | type[LinearSite] | type[RouterSite] | type[FusedSite]] = {
    "moe block": BlockSite,
    "attention": LinearSite,
    "router": RouterSite,
    "base experts": FusedSite,
}


@dataclass(frozen=True)
class AttachPoint:
    """One module of the base that carries a part of an adapter.

    Attributes:
        path: dotted path of the module.
        number: distinguishes the attach points of one adapter; the same for every adapter here.
        layer: its decoder layer, from 0.
        geometry: determines the shapes of the adapter's tensors.
        target: the MoE block (with its router) or the linear layer.
        attach: how the adapter acts on it.
    """

    path: str
    number: int
    layer: int
    geometry: Geometry
    target: MoEBlock | nn.Linear
    attach: Attach

    def make_site(self, current: CurrentLayout) -> Site:
        """Attaches a new site to the module."""
        return _KINDS[self.attach](self.number, self.target, current)  # type: ignore[arg-type]


def attach_points_of(
    model: PreTrainedModel, blocks: tuple[MoEBlock, ...], config: AdapterConfig
) -> tuple[AttachPoint, ...]:
    """The attach points of `config` on its layers, first layer first.

    Raises:
        BaseModelError: if the base has no such module.
        AdapterError: if the base has fewer layers than the configuration asks for.
    """
    if variant_of(config).attach == "attention":
        return _in_attention(model, config)
    layers = layer_numbers(model, [block.router_name for block in blocks])
    chosen = config.chosen_layers(len(blocks))
    return tuple(_at_block(blocks[number], number, layers[number], config) for number in chosen)


def _in_attention(model: PreTrainedModel, config: AdapterConfig) -> tuple[AttachPoint, ...]:
    found = attention_projections(model)
    found = projections_of(variant_of(config), found, base_name(model))
    chosen = config.chosen_layers(len(decoder_layers(model)))
    points = tuple(
        AttachPoint(p.path, p.number, p.layer, _shape_of(p.linear), p.linear, "attention")
        for p in found
        if p.layer in chosen
    )
    if not points:
        with_attention = ", ".join(str(layer) for layer in sorted({p.layer for p in found}))
        raise AdapterError(
            f"layers={config.layers!r} chooses no layer of this base with attention; "
            f"these have it: {with_attention}"
        )
    return points


def _shape_of(linear: nn.Linear) -> tuple[int, int]:
    return linear.out_features, linear.in_features


def _at_block(block: MoEBlock, number: int, layer: int, config: AdapterConfig) -> AttachPoint:
    path, geometry = _site_of(block, config)
    return AttachPoint(path, number, layer, geometry, block, variant_of(config).attach)


def _site_of(block: MoEBlock, config: AdapterConfig) -> tuple[str, Geometry]:
    """The module of a block that carries the adapter, and the geometry there."""
    variant = variant_of(config)
    if variant.attach == "router":
        outputs, inputs = block.scorer.get_parameter(block.scorer_weight).shape
        return block.scorer_name, (outputs, inputs)
    if variant.attach == "base experts":
        weights = tuple(FusedWeight(name, *eoi) for name, eoi in fused_weights(block).items())
        return block.experts_name, FusedGeometry(weights, block.top_k)
    if variant.needs_base_routing and block.hashed:
        raise BaseModelError(
            f"{block.name} of base {block.base!r} looks its experts up by token id, so there is no "
            f"routing that {variant.name} could follow; choose other layers with `layers`, or one "
            f"of {for_every_block()}, which need none"
        )
    return block.name, BlockGeometry(block.hidden_size, block.num_experts, block.top_k)


def require_fit(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Compares the shapes of an adapter's tensors, by key, with what a base needs.

    Raises:
        AdapterError: names the first tensor that is missing, of another shape, or superfluous.
    """
    for key, shape in wanted.items():
        if key not in found:
            raise AdapterError(f"the adapter does not fit this base: it has no tensor {key}")
        if found[key] != tuple(shape):
            raise AdapterError(
                f"the adapter does not fit this base: {key} has shape {found[key]}, "
                f"this base needs {tuple(shape)}"
            )
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise AdapterError(f"the adapter does not fit this base: it has no place for {extra[0]}")
