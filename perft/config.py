"""What one trial is made of: the adapter's configuration and the training configuration.

Frozen dataclasses, validated when constructed, free of torch: they travel through Ray, Optuna,
MLflow and JSON as flat dictionaries (`to_flat`, `from_flat`), and a value that does not make
sense is refused before any worker starts.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, get_args

from perft.errors import ConfigError, unknown

ExpertForm = Literal["lora", "parallel"]
Init = Literal["lora", "perft"]
Variant = Literal["perft-r", "perft-e", "perft-d", "perft-s", "lora-qv", "lora-router"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What every variant has: low-rank pairs of one rank.

    Attributes:
        rank: bottleneck width r of each low-rank pair.
        alpha: LoRA scale numerator, `alpha / rank` multiplies the output; None means `2 * rank`
            (the PERFT authors' choice).
        dropout: probability in [0, 1) of dropping an input (form "lora") or a bottleneck unit
            (form "parallel") while training.
        init: "lora" starts as an exact no-op (A kaiming-uniform, B zero); "perft" is the
            authors' A ~ N(0, 2/r), B ~ 1e-6 N(0, 1). A learning rate does not transfer between
            the two.
    """

    variant: ClassVar[Variant]

    rank: int
    alpha: float | None = None
    dropout: float = 0.0
    init: Init = "lora"

    def __post_init__(self) -> None:
        _require_positive("rank", self.rank)
        if self.alpha is not None:
            _require_positive_number("alpha", self.alpha)
        if not (_is_number(self.dropout) and 0.0 <= self.dropout < 1.0):
            raise ConfigError(f"dropout must be in [0, 1), found {self.dropout!r}")
        _require_choice("init", self.init, get_args(Init))

    @property
    def scale(self) -> float:
        """The factor alpha / r of the LoRA form."""
        return (2.0 * self.rank if self.alpha is None else self.alpha) / self.rank

    def to_flat(self) -> dict[str, Any]:
        """The configuration as one flat dictionary of JSON values, `variant` first."""
        return {"variant": self.variant, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig(AdapterConfig):
    """What the four PERFT variants share: PEFT experts beside each MoE block.

    Attributes:
        form: "lora" is (alpha/r) B A drop(x); "parallel" is W2 silu(drop(W1 x)), without scale.
    """

    form: ExpertForm = "lora"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_choice("form", self.form, get_args(ExpertForm))


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
        _require_positive("num_experts", self.num_experts)


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
        _require_positive("num_experts", self.num_experts)
        _require_positive("top_k", self.top_k)
        if self.top_k > self.num_experts:
            raise ConfigError(
                f"top_k must be at most num_experts, found top_k={self.top_k} with "
                f"num_experts={self.num_experts}; lower top_k or add PEFT experts"
            )
        if self.normalize_top_k and self.top_k == 1 and self.num_experts > 1:
            raise ConfigError(
                "normalize_top_k with top_k=1 fixes the routing weight at 1, so the PEFT router "
                "cannot learn from the task; set normalize_top_k=False or top_k of 2 or more"
            )
        _require_at_least_zero("balance", self.balance)


@dataclass(frozen=True, kw_only=True)
class EmbeddedConfig(ExpertsConfig):
    """PERFT-E: one PEFT expert per base expert, routed by the frozen base router."""

    variant: ClassVar[Variant] = "perft-e"


@dataclass(frozen=True, kw_only=True)
class LoraQVConfig(AdapterConfig):
    """MoE-agnostic baseline: LoRA on the attention's `q_proj` and `v_proj`."""

    variant: ClassVar[Variant] = "lora-qv"


@dataclass(frozen=True, kw_only=True)
class LoraRouterConfig(AdapterConfig):
    """MoE-agnostic baseline: LoRA on the base router's weight.

    Dropout is refused: the low-rank update is added to the weight, not computed from an input.
    """

    variant: ClassVar[Variant] = "lora-router"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout:
            raise ConfigError(f"lora-router has no dropout, found dropout={self.dropout}; set 0")


_CONFIG_OF: Mapping[str, type[AdapterConfig]] = {
    config.variant: config
    for config in (
        RoutedConfig, EmbeddedConfig, DenseConfig, SingleConfig, LoraQVConfig, LoraRouterConfig,
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one trial is trained.

    Attributes:
        lr: peak learning rate of AdamW.
        batch_size: examples per step, over all ranks together.
        max_steps: optimiser steps of a full-length trial.
        warmup_steps: steps of linear warm-up; the rate then decays linearly to 0 at `max_steps`.
        weight_decay: decoupled weight decay.
        clip_norm: largest 2-norm of the trial's gradient.
        loss_on: "answer" trains on the completion only, "all" on the prompt too.
        max_length: tokens of prompt plus completion; a longer prompt loses its beginning.
        seed: seeds the initial adapter, the order of the examples and dropout.
    """

    lr: float
    batch_size: int = 16
    max_steps: int = 200
    warmup_steps: int = 20
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    loss_on: Literal["answer", "all"] = "answer"
    max_length: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "clip_norm"):
            _require_positive_number(name, getattr(self, name))
        for name in ("batch_size", "max_steps", "max_length"):
            _require_positive(name, getattr(self, name))
        if not (_is_whole(self.warmup_steps) and 0 <= self.warmup_steps < self.max_steps):
            raise ConfigError(
                "warmup_steps must be a whole number in [0, max_steps), found "
                f"warmup_steps={self.warmup_steps!r} with max_steps={self.max_steps}"
            )
        _require_at_least_zero("weight_decay", self.weight_decay)
        if not (_is_whole(self.seed) and self.seed >= 0):
            raise ConfigError(f"seed must be a whole number of at least 0, found {self.seed!r}")
        _require_choice("loss_on", self.loss_on, ("answer", "all"))

    def to_flat(self) -> dict[str, Any]:
        """The configuration as one flat dictionary of JSON values."""
        return dataclasses.asdict(self)


def adapter_from_flat(flat: Mapping[str, Any]) -> AdapterConfig:
    """Builds the adapter configuration that `AdapterConfig.to_flat` wrote.

    Raises:
        ConfigError: for an unknown variant, an unknown or missing setting, or a bad value.
    """
    settings = dict(flat)
    variant = settings.pop("variant", None)
    if variant not in _CONFIG_OF:
        raise ConfigError(unknown("variant", str(variant), VARIANTS))
    return _build(_CONFIG_OF[variant], settings, f"variant {variant}")


def training_from_flat(flat: Mapping[str, Any]) -> TrainingConfig:
    """Builds the training configuration that `TrainingConfig.to_flat` wrote.

    Raises:
        ConfigError: for an unknown or missing setting, or a bad value.
    """
    return _build(TrainingConfig, dict(flat), "training")


def fields_of(variant: str) -> frozenset[str]:
    """Names of the settings that `variant` takes.

    Raises:
        ConfigError: for an unknown variant.
    """
    if variant not in _CONFIG_OF:
        raise ConfigError(unknown("variant", variant, VARIANTS))
    return frozenset(field.name for field in dataclasses.fields(_CONFIG_OF[variant]))


_Config = TypeVar("_Config", AdapterConfig, TrainingConfig)


def _build(kind: type[_Config], settings: dict[str, Any], owner: str) -> _Config:
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in settings:
        if name not in known:
            raise ConfigError(f"{owner}: {unknown('setting', name, known)}")
    missing = [
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING and name not in settings
    ]
    if missing:
        raise ConfigError(f"{owner} needs {', '.join(missing)}")
    return kind(**settings)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _require_positive(name: str, value: Any) -> None:
    if not (_is_whole(value) and value >= 1):
        raise ConfigError(f"{name} must be a whole number of at least 1, found {value!r}")


def _require_positive_number(name: str, value: Any) -> None:
    if not (_is_number(value) and value > 0):
        raise ConfigError(f"{name} must be a positive number, found {value!r}")


def _require_at_least_zero(name: str, value: Any) -> None:
    if not (_is_number(value) and value >= 0):
        raise ConfigError(f"{name} must be a number of at least 0, found {value!r}")


def _require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(unknown(name, str(value), choices))
