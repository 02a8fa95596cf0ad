"""What an adapter is: one frozen dataclass per variant, which refuses what makes no sense.

Free of torch, so that thin trials and commands can use it.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from perft.config.checks import (
    is_number,
    require_at_least_zero,
    require_bool,
    require_choice,
    require_positive,
    require_positive_number,
    shown,
)
from perft.errors import AdapterError, ConfigError

Activation = Literal["gelu", "gelu_pytorch_tanh", "relu", "relu2", "silu", "tanh"]
"""Activations of the parallel form, by the names of transformers; all are 0 at 0."""
ExpertForm = Literal["lora", "parallel"]
Init = Literal["lora", "perft"]
Variant = Literal[
    "perft-r",
    "perft-e",
    "perft-d",
    "perft-s",
    "lora-qv",
    "lora-attention",
    "lora-router",
    "lora-experts",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

LARGEST_SIZE = 1 << 16
"""The largest rank, and the most PEFT experts of a block: more than any base has hidden units."""

_LAYERS = re.compile(r"all|(last|every):0*[1-9]\d{0,5}|\d{1,6}(,\d{1,6})*", re.ASCII)
_LONGEST_LAYERS = 10_000


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What every variant has: low-rank pairs of one rank, on some layers.

    Attributes:
        rank: bottleneck width r of each low-rank pair.
        alpha: LoRA scale numerator, `alpha / rank` multiplies the output; None means `2 * rank`
            (the PERFT authors' choice).
        dropout: probability in [0, 1) of dropping an input (form "lora") or a bottleneck unit
            (form "parallel") while training.
        init: "lora" starts as an exact no-op (A kaiming-uniform, B zero); "perft" is the
            authors' A ~ N(0, 2/r), B ~ 1e-6 N(0, 1). A learning rate does not transfer between
            the two.
        layers: which layers have the adapter, counted from 0: "all", "last:n", "every:k" (0, k,
            2k, ...), or a list such as "0,3,5". They are the base's MoE layers; for LoRA on the
            attention, its decoder layers.
        base_balance: coefficient of the load-balancing loss of the base router. The router is
            frozen (but for "lora-router"), the loss reaches the adapter through the hidden states.
    """

    variant: ClassVar[Variant]

    rank: int
    alpha: float | None = None
    dropout: float = 0.0
    init: Init = "lora"
    layers: str = "all"
    base_balance: float = 0.0

    def __post_init__(self) -> None:
        require_positive("rank", self.rank, LARGEST_SIZE)
        if self.alpha is not None:
            require_positive_number("alpha", self.alpha)
        if not (is_number(self.dropout) and 0.0 <= self.dropout < 1.0):
            raise ConfigError(f"dropout must be in [0, 1), found {shown(self.dropout)}")
        require_choice("init", self.init, get_args(Init))
        is_text = isinstance(self.layers, str) and len(self.layers) <= _LONGEST_LAYERS
        if not (is_text and _LAYERS.fullmatch(self.layers)):
            raise ConfigError(
                f'layers must be "all", "last:n", "every:k" or a list such as "0,3,5" with n and k '
                f"of at least 1, found {shown(self.layers)}"
            )
        require_at_least_zero("base_balance", self.base_balance)

    @property
    def scale(self) -> float:
        """The factor alpha / r of the LoRA form."""
        return (2.0 * self.rank if self.alpha is None else self.alpha) / self.rank

    def chosen_layers(self, count: int) -> tuple[int, ...]:
        """The layers, of `count`, that have the adapter, ascending.

        Raises:
            AdapterError: if there are fewer layers than `layers` asks for.
        """
        if self.layers == "all":
            return tuple(range(count))
        kind, _, number = self.layers.rpartition(":")
        if kind == "every":
            return tuple(range(0, count, int(number)))
        chosen = (
            range(count - int(number), count)
            if kind == "last"
            else sorted({int(layer) for layer in self.layers.split(",")})
        )
        if chosen[0] < 0 or chosen[-1] >= count:
            raise AdapterError(
                f"layers={self.layers!r} does not fit this base: it has {count} layers that "
                f"{self.variant} can be put on, 0 to {count - 1}"
            )
        return tuple(chosen)

    def to_flat(self) -> dict[str, Any]:
        """The configuration as one flat dictionary of JSON values, `variant` first."""
        return {"variant": self.variant, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig(AdapterConfig):
    """What the four PERFT variants share: PEFT experts beside each MoE block.

    Attributes:
        form: "lora" is (alpha/r) B A drop(x); "parallel" is W2 f(drop(W1 x)), without scale.
        activation: f of the parallel form.
    """

    form: ExpertForm = "lora"
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("form", self.form, get_args(ExpertForm))
        require_choice("activation", self.activation, get_args(Activation))
        if self.form == "lora" and self.activation != "silu":
            raise ConfigError(
                f'form "lora" has no activation, found activation={self.activation!r}; '
                'leave it out or set form="parallel"'
            )


@dataclass(frozen=True, kw_only=True)
class SingleConfig(ExpertsConfig):
    """PERFT-S: one PEFT expert per MoE block, always on."""

    variant: ClassVar[Variant] = "perft-s"


@dataclass(frozen=True, kw_only=True)
class DenseConfig(ExpertsConfig):
    """PERFT-D: `num_experts` PEFT experts per MoE block, all always on, summed without 1/M."""

    variant: ClassVar[Variant] = "perft-d"

    num_experts: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("num_experts", self.num_experts, LARGEST_SIZE)


@dataclass(frozen=True, kw_only=True)
class RoutedConfig(ExpertsConfig):
    """PERFT-R (K/M): M PEFT experts behind a trainable router of their own, K on per token.

    Attributes:
        num_experts: M.
        top_k: K, at most M.
        normalize_top_k: divide the K weights by their sum. With K = 1 the weight would always be
            1 and the router would get no gradient from the task, so that pair is refused.
        balance: coefficient of the load-balancing loss of the PEFT router.
    """

    variant: ClassVar[Variant] = "perft-r"

    num_experts: int
    top_k: int
    normalize_top_k: bool = False
    balance: float = 0.01

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


@dataclass(frozen=True, kw_only=True)
class EmbeddedConfig(ExpertsConfig):
    """PERFT-E: one PEFT expert per base expert, routed by the frozen base router."""

    variant: ClassVar[Variant] = "perft-e"


@dataclass(frozen=True, kw_only=True)
class LoraQVConfig(AdapterConfig):
    """MoE-agnostic baseline: LoRA on the attention's `q_proj` and `v_proj`."""

    variant: ClassVar[Variant] = "lora-qv"


@dataclass(frozen=True, kw_only=True)
class LoraAttentionConfig(AdapterConfig):
    """MoE-agnostic baseline: LoRA on all linear layers of the attention."""

    variant: ClassVar[Variant] = "lora-attention"


@dataclass(frozen=True, kw_only=True)
class LoraWeightConfig(AdapterConfig):
    """What the baselines share whose low-rank update is added to a weight.

    Dropout is refused: the update is not computed from an input.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout:
            raise ConfigError(f"{self.variant} has no dropout, found dropout={self.dropout}; set 0")


@dataclass(frozen=True, kw_only=True)
class LoraRouterConfig(LoraWeightConfig):
    """MoE-agnostic baseline: LoRA on the base router's weight."""

    variant: ClassVar[Variant] = "lora-router"


@dataclass(frozen=True, kw_only=True)
class LoraExpertsConfig(LoraWeightConfig):
    """MoE-agnostic baseline: LoRA on the fused weights of the base experts, one pair for each."""

    variant: ClassVar[Variant] = "lora-experts"
