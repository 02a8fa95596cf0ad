"""The declaration of a variant: all that the rest of perft needs to know. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perft.adapters.config import AdapterConfig
from perft.adapters.tensors import Shapes, Start, as_init_says

Attach = Literal["moe block", "attention", "router", "base experts"]
"""Beside an MoE block, or on the weights of attention's linear layers, of a router, of experts."""
ProjectionKind = Literal["query", "value"]
HFStorage = Literal["PERFT", "modules", "parameters", "fused parameters"]
"""How HF PEFT's folder stores it: as type PERFT, or as plain LoRA with `target_modules`, with
`target_parameters`, or with `target_parameters` that each hold the weights of all experts."""

_INSIDE: Mapping[Attach, str] = {"attention": "attention", "base experts": "experts"}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant: its configuration, where it attaches, its sizes and its computation.

    Attributes:
        example: a smallest configuration, of rank 1; its class is the variant's configuration.
        label: its name in tables of variants.
        attach: the part of a base that it attaches to.
        shapes: from a configuration and a place's geometry, the shapes of its tensors there.
        activated: from the same, the number of parameters that one token uses there.
        mathematics: dotted name of the module that computes it, imported when tensors are computed,
            so that reading configurations needs no torch.
        hf_storage: how HF PEFT stores it.
        projections: the attention projections that it attaches to; empty for all.
        needs_base_routing: whether it follows the base router's choice.
        router_balance: from a configuration, the coefficient of the load-balancing loss of its own
            router; None without a router.
        router: kind of the weights (M, D) of its own router; empty without one.
        starts: from a configuration, by kind, the start of tensors not initialised by `init`.
    """

    example: AdapterConfig
    label: str
    attach: Attach
    shapes: Callable[..., Shapes]
    activated: Callable[..., int]
    mathematics: str
    hf_storage: HFStorage
    projections: tuple[ProjectionKind, ...] = ()
    needs_base_routing: bool = False
    router_balance: Callable[[Any], float] | None = None
    router: str = ""
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
        """Whether the gradient enters the attention of the lowest layer with the adapter.

        Above that layer it passes every layer's attention, whatever the variant.
        """
        return self.attach == "attention"

    @property
    def inside(self) -> str:
        """The modules of the base that compute differently because it acts inside them, or ""."""
        return _INSIDE.get(self.attach, "")

    @property
    def fits_every_block(self) -> bool:
        """Whether it can be put beside any MoE block, of any family."""
        return self.attach == "moe block" and not self.needs_base_routing
