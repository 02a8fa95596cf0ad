"""What a variant says of itself: all that the rest of perft asks about one. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perft.adapters.config import AdapterConfig
from perft.adapters.tensors import Shapes, Start

Attach = Literal["moe block", "attention", "router", "base experts"]
"""Beside an MoE block, or on the weights of attention's linear layers, of a router, of experts."""
Projection = Literal["query", "value"]
HFStorage = Literal["PERFT", "modules", "parameters", "fused parameters"]
"""The folder that HF PEFT reads: of the type PERFT, or plain LoRA with `target_modules`, with
`target_parameters`, or with `target_parameters` of which each holds the weights of all experts."""

_INSIDE: Mapping[Attach, str] = {"attention": "attention", "base experts": "experts"}


def as_init_says(_config: AdapterConfig) -> Mapping[str, Start]:
    """No tensor starts otherwise than `init` says."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant: its configuration, and where and how everything else deals with it.

    Attributes:
        example: a configuration of rank 1, the smallest that says what the variant is; its class
            is the variant's configuration.
        label: what tables of variants call it.
        attach: where on a base it goes.
        shapes: of its tensors at one place: of a configuration and the place's geometry.
        activated: how many parameters one token uses at one place, of the same two.
        mathematics: dotted name of the module that computes it. It is imported when tensors are
            computed, so that whoever only reads configurations needs no torch.
        hf_storage: how HF PEFT stores it.
        projections: of attention, the projections that it goes on; all where there is none.
        needs_base_routing: whether it goes by the choice of the base's router.
        router_balance: of a configuration, the coefficient of the load-balancing loss of its own
            router; None where it has no router.
        starts: of a configuration, how those tensors start that do not start as `init` says, by
            kind.
    """

    example: AdapterConfig
    label: str
    attach: Attach
    shapes: Callable[..., Shapes]
    activated: Callable[..., int]
    mathematics: str
    hf_storage: HFStorage
    projections: tuple[Projection, ...] = ()
    needs_base_routing: bool = False
    router_balance: Callable[[Any], float] | None = None
    starts: Callable[[Any], Mapping[str, Start]] = as_init_says

    @property
    def name(self) -> str:
        """The name in configurations and on the command line."""
        return self.example.variant

    @property
    def config(self) -> type[AdapterConfig]:
        """The class of its configurations."""
        return type(self.example)

    @property
    def needs_attention_grad(self) -> bool:
        """Whether the gradient goes into the attention of the lowest layer that has the adapter.

        From there up it goes through the attention of every layer, whatever the variant.
        """
        return self.attach == "attention"

    @property
    def inside(self) -> str:
        """The modules of the base that compute otherwise where it acts inside of them, or ""."""
        return _INSIDE.get(self.attach, "")

    @property
    def fits_every_block(self) -> bool:
        """Whether it can be put beside any MoE block, of any family."""
        return self.attach == "moe block" and not self.needs_base_routing
