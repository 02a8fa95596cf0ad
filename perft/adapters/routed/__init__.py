"""PERFT-R: y = y0 + sum_{j in TopK(G(x))} G_j(x) D_j(x), with a trainable router G of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from perft.adapters.config import LARGEST_SIZE, LARGEST_WEIGHT, Option
from perft.adapters.declaration import Variant
from perft.adapters.experts import ExpertsConfig, expert_shapes, expert_size, expert_starts
from perft.adapters.geometry import BlockGeometry
from perft.adapters.tensors import Shapes, Start
from perft.checks import require_at_least_zero, require_bool, require_positive
from perft.errors import ConfigError

ROUTER_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class RoutedConfig(ExpertsConfig):
    """PERFT-R (K/M): M PEFT experts behind a trainable router of their own, K on per token.

    Attributes:
        num_experts: M, the PEFT experts beside a block.
        top_k: K, those that a token uses, at most M.
        normalize_top_k: divide the K weights by their sum. With K = 1 the weight would always be
            1 and the router would get no gradient from the task, so that pair is refused.
        balance: coefficient of the load-balancing loss of the PEFT router.
    """

    variant: ClassVar[str] = "perft-r"

    num_experts: Annotated[int, Option("PEFT experts", at_least=1, at_most=LARGEST_SIZE)]
    top_k: Annotated[int, Option("PEFT experts per token", at_least=1, at_most=LARGEST_SIZE)]
    normalize_top_k: Annotated[
        bool, Option("Divide a token's routing weights by their sum", default="not")
    ] = False
    balance: Annotated[
        float,
        Option("Weight of the PEFT router's balance loss", at_least=0, at_most=LARGEST_WEIGHT),
    ] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("num_experts", self.num_experts, LARGEST_SIZE)
        require_positive("top_k", self.top_k)
        if self.top_k > self.num_experts:
            raise ConfigError(
                f"top_k must be at most num_experts, found top_k={self.top_k} with "
                f"num_experts={self.num_experts}; lower top_k or add PEFT experts"
            )
        require_bool("normalize_top_k", self.normalize_top_k)
        if self.normalize_top_k and self.top_k == 1 and self.num_experts > 1:
            raise ConfigError(
                "normalize_top_k with top_k=1 fixes the routing weight at 1, so the PEFT router "
                "cannot learn from the task; set normalize_top_k=False or top_k of 2 or more"
            )
        require_at_least_zero("balance", self.balance)


def shapes(config: RoutedConfig, block: BlockGeometry) -> Shapes:
    """The shapes of M PEFT experts, and `perft_router` (M, D)."""
    experts = expert_shapes(config, config.num_experts, block.hidden_size)
    return {**experts, "perft_router": (config.num_experts, block.hidden_size)}


def activated(config: RoutedConfig, block: BlockGeometry) -> int:
    """Parameters that one token uses per block: K 2Dr + DM."""
    experts = config.top_k * expert_size(config, block.hidden_size)
    return experts + block.hidden_size * config.num_experts


def starts(config: RoutedConfig) -> Mapping[str, Start]:
    """The form's starts; the router starts from N(0, 0.02^2)."""
    return {**expert_starts(config), "perft_router": Start(normal=ROUTER_STD)}


def balance(config: RoutedConfig) -> float:
    """Coefficient of the load-balancing loss of the PEFT router."""
    return config.balance


VARIANT = Variant(
    example=RoutedConfig(rank=1, num_experts=2, top_k=1),
    label="R",
    attach="moe block",
    shapes=shapes,
    activated=activated,
    mathematics="perft.adapters.routed.mathematics",
    hf_storage="PERFT",
    router_balance=balance,
    router="perft_router",
    starts=starts,
)
