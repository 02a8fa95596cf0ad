"""Where on a base a variant puts its tensors, and how large they are there."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from perft.adapters import Geometry
from perft.adapters.block import BlockGeometry
from perft.config import AdapterConfig, LoraQVConfig, LoraRouterConfig
from perft.injection.sites import BlockSite, CurrentLayout, LinearSite, RouterSite, Site
from perft.models.blocks import MoEBlock, find_projections


@dataclass(frozen=True)
class Place:
    """One module of the base that carries a part of an adapter.

    Attributes:
        path: dotted path of the module.
        number: counts the places of one variant, first layer first.
        geometry: what the shapes of the adapter's tensors follow from.
        target: the MoE block (with its router) or the linear layer.
        kind: the site that serves it.
    """

    path: str
    number: int
    geometry: Geometry
    target: MoEBlock | nn.Linear
    kind: type[BlockSite] | type[LinearSite] | type[RouterSite]

    def make_site(self, current: CurrentLayout) -> Site:
        """Attaches a new site to the module."""
        return self.kind(self.number, self.target, current)  # type: ignore[arg-type]


def places_of(
    model: PreTrainedModel, blocks: tuple[MoEBlock, ...], config: AdapterConfig
) -> tuple[Place, ...]:
    """The places of `config`'s variant, first layer first.

    Raises:
        BaseModelError: if the base has no such place.
    """
    if isinstance(config, LoraQVConfig):
        linears = find_projections(model, ("q_proj", "v_proj"))
        return tuple(
            Place(path, i, (linear.out_features, linear.in_features), linear, LinearSite)
            for i, (path, linear) in enumerate(linears.items())
        )
    if isinstance(config, LoraRouterConfig):
        return tuple(
            Place(b.router_name, i, (b.num_experts, b.hidden_size), b, RouterSite)
            for i, b in enumerate(blocks)
        )
    return tuple(
        Place(b.name, i, BlockGeometry(b.hidden_size, b.num_experts, b.top_k), b, BlockSite)
        for i, b in enumerate(blocks)
    )
