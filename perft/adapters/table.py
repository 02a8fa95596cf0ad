"""The table of variants: to add one, add its folder to this package and its lines to this file."""

from collections.abc import Mapping

from perft.adapters import dense, embedded, gated, lora_experts, routed, single
from perft.adapters.config import AdapterConfig
from perft.adapters.declaration import Variant
from perft.adapters.dense import DenseConfig
from perft.adapters.embedded import EmbeddedConfig
from perft.adapters.gated import GatedConfig
from perft.adapters.lora import attention, query_value, router
from perft.adapters.lora.attention import LoraAttentionConfig
from perft.adapters.lora.query_value import LoraQVConfig
from perft.adapters.lora.router import LoraRouterConfig
from perft.adapters.lora_experts import LoraExpertsConfig
from perft.adapters.routed import RoutedConfig
from perft.adapters.single import SingleConfig
from perft.errors import listed

# The configurations, which `perft` and `perft.config` offer to users.
__all__ = [
    "DenseConfig",
    "EmbeddedConfig",
    "GatedConfig",
    "LoraAttentionConfig",
    "LoraExpertsConfig",
    "LoraQVConfig",
    "LoraRouterConfig",
    "RoutedConfig",
    "SingleConfig",
]

TABLE: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        routed.VARIANT,
        embedded.VARIANT,
        dense.VARIANT,
        single.VARIANT,
        query_value.VARIANT,
        attention.VARIANT,
        router.VARIANT,
        lora_experts.VARIANT,
        gated.VARIANT,
    )
}
"""Every variant by name. Add new ones last: plots assign colours in this order."""

VARIANTS: tuple[str, ...] = tuple(TABLE)
"""The names, in the order of the table."""


def variant_of(config: AdapterConfig) -> Variant:
    """The variant of a configuration."""
    return TABLE[config.variant]


def router_balance(config: AdapterConfig) -> float:
    """Coefficient of the load-balancing loss of the adapter's own router; 0 without one."""
    balance = variant_of(config).router_balance
    return 0.0 if balance is None else balance(config)


def for_every_block() -> str:
    """The variants that fit any MoE block, listed for a message."""
    return listed((v.name for v in TABLE.values() if v.fits_every_block), "and")


def by_base_router() -> str:
    """The variants that follow the base router's choice, listed for a message."""
    return listed(v.name for v in TABLE.values() if v.needs_base_routing)
