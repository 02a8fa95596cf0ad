"""The base class of every variant's configuration: a frozen dataclass that validates itself.

Free of torch, so that thin trials and commands can use it.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from perft.checks import (
    is_number,
    require_at_least_zero,
    require_choice,
    require_positive,
    require_positive_number,
    shown,
)
from perft.errors import AdapterError, ConfigError
from perft.files import Json

Init = Literal["lora", "perft"]

LARGEST_SIZE = 1 << 16
"""Largest rank and largest number of PEFT experts of a block, above any base's hidden size."""
LARGEST_WEIGHT = 1000.0
"""The largest coefficient of a loss that the command line takes."""

_LAYERS = re.compile(r"all|(last|every):0*[1-9]\d{0,5}|\d{1,6}(,\d{1,6})*", re.ASCII)
_LONGEST_LAYERS = 10_000


@dataclass(frozen=True)
class Option:
    """Annotates a field with its command-line option.

    Attributes:
        help: the help text, without a full stop.
        at_least: the smallest value.
        at_most: the largest value.
        default: the default in words, if its value does not explain it.
    """

    help: str
    at_least: float | None = None
    at_most: float | None = None
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The settings of every variant: low-rank pairs of one rank, on some layers.

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

    variant: ClassVar[str]
    drops: ClassVar[bool] = True
    """Whether it can have dropout."""

    rank: Annotated[
        int, Option("Bottleneck width of each PEFT expert", at_least=1, at_most=LARGEST_SIZE)
    ]
    alpha: Annotated[
        float | None, Option("LoRA scale numerator", at_least=0, at_most=1e6, default="2 * rank")
    ] = None
    dropout: Annotated[float, Option("Dropout of the adapter", at_least=0, at_most=1)] = 0.0
    init: Annotated[Init, Option("lora (exact no-op) or perft (the authors')")] = "lora"
    layers: Annotated[
        str, Option('Layers with the adapter: all, last:n, every:k or a list "0,3,5"')
    ] = "all"
    base_balance: Annotated[
        float,
        Option("Weight of the base router's balance loss", at_least=0, at_most=LARGEST_WEIGHT),
    ] = 0.0

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

    def to_flat(self) -> dict[str, Json]:
        """The configuration as one flat dictionary of JSON values, `variant` first."""
        return {"variant": self.variant, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class LoraWeightConfig(AdapterConfig):
    """The settings of baselines that add a low-rank update to a weight.

    They have no dropout: the update is not computed from an input.
    """

    drops: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout:
            raise ConfigError(f"{self.variant} has no dropout, found dropout={self.dropout}; set 0")
