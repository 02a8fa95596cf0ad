"""Where on a base a variant puts its tensors, and how large they are there."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from perft.adapters import Geometry
from perft.adapters.block import BlockGeometry
from perft.adapters.lora_experts import FusedGeometry, FusedWeight
from perft.config import (
    AdapterConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
)
from perft.errors import AdapterError, BaseModelError
from perft.injection.fused import FusedSite
from perft.injection.router_site import RouterSite
from perft.injection.sites import BlockSite, CurrentLayout, LinearSite, Site
from perft.models.attention import attention_projections, query_and_value
from perft.models.blocks import MoEBlock, base_name, decoder_layers
from perft.models.fused import fused_weights


@dataclass(frozen=True)
class AttachPoint:
    """One module of the base that carries a part of an adapter.

    Attributes:
        path: dotted path of the module.
        number: tells the attach points of one adapter apart, the same for every adapter that is put
            here.
        geometry: what the shapes of the adapter's tensors follow from.
        target: the MoE block (with its router) or the linear layer.
        kind: the site that serves it.
    """

    path: str
    number: int
    geometry: Geometry
    target: MoEBlock | nn.Linear
    kind: type[BlockSite] | type[LinearSite] | type[RouterSite] | type[FusedSite]

    def make_site(self, current: CurrentLayout) -> Site:
        """Attaches a new site to the module."""
        return self.kind(self.number, self.target, current)  # type: ignore[arg-type]


def attach_points_of(
    model: PreTrainedModel, blocks: tuple[MoEBlock, ...], config: AdapterConfig
) -> tuple[AttachPoint, ...]:
    """The attach points of `config` on the layers that it chooses, first layer first.

    Raises:
        BaseModelError: if the base has no such place.
        AdapterError: if the base has fewer layers than the configuration asks for.
    """
    if isinstance(config, LoraQVConfig | LoraAttentionConfig):
        return _in_attention(model, config)
    chosen = config.chosen_layers(len(blocks))
    return tuple(_at_block(blocks[number], number, config) for number in chosen)


def _in_attention(
    model: PreTrainedModel, config: LoraQVConfig | LoraAttentionConfig
) -> tuple[AttachPoint, ...]:
    found = attention_projections(model)
    if isinstance(config, LoraQVConfig):
        found = query_and_value(found, base_name(model))
    chosen = config.chosen_layers(len(decoder_layers(model)))
    points = tuple(
        AttachPoint(
            p.path, p.number, (p.linear.out_features, p.linear.in_features), p.linear, LinearSite
        )
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


def _at_block(block: MoEBlock, number: int, config: AdapterConfig) -> AttachPoint:
    if isinstance(config, LoraRouterConfig):
        matrix = block.scorer.get_parameter(block.scorer_weight)
        return AttachPoint(block.scorer_name, number, tuple(matrix.shape), block, RouterSite)  # type: ignore[arg-type]
    if isinstance(config, LoraExpertsConfig):
        weights = tuple(FusedWeight(name, *eoi) for name, eoi in fused_weights(block).items())
        fused = FusedGeometry(weights, block.top_k)
        return AttachPoint(block.experts_name, number, fused, block, FusedSite)
    if isinstance(config, EmbeddedConfig):
        _require_routed(block)
    geometry = BlockGeometry(block.hidden_size, block.num_experts, block.top_k)
    return AttachPoint(block.name, number, geometry, block, BlockSite)


def _require_routed(block: MoEBlock) -> None:
    if block.hashed:
        raise BaseModelError(
            f"{block.name} of base {block.base!r} looks its experts up by token id, so there is no "
            "routing that perft-e could follow; choose other layers with `layers`, or perft-r, "
            "which routes by itself"
        )


def require_fit(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Compares the shapes of an adapter's tensors, by key, with what a base needs.

    Raises:
        AdapterError: naming the first tensor that is missing, of another shape, or without a place.
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
