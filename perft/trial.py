"""What processes exchange about a trial: its configuration, its reports, its result.

A search space proposes a `TrialConfig`; a worker group turns it into `Report`s, one per rung; the
search ends each trial with a `TrialResult`. All three are plain data, free of torch and Ray, and
become flat dictionaries of JSON values.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from perft.checks import (
    require_at_least_zero,
    require_choice,
    require_number,
    require_positive,
    require_whole,
    shown,
)
from perft.config import AdapterConfig, TrainingConfig, adapter_from_flat, training_from_flat
from perft.config.typed import read_fields
from perft.errors import ConfigError
from perft.files import Json

Outcome = Literal["complete", "pruned", "failed"]

OriginKind = Literal["continue", "clone", "confirm", "add"]

MAX_PARAMETERS = 10**15
"""More parameters than any base has."""

_RUN_ID = re.compile(r"[\w.-]{0,200}", re.ASCII)


class AnswerCount(NamedTuple):
    """Numbers of correct answers and of scored examples of a split.

    Attributes:
        correct: examples answered correctly.
        scored: examples that were scored.
    """

    correct: int
    scored: int


SplitScores = Mapping[str, AnswerCount]
"""One adapter's scores on the test splits, by name of the split."""


@dataclass(frozen=True, repr=False)
class TrialConfig:
    """One point of a search space: an adapter and how it is trained."""

    adapter: AdapterConfig
    training: TrainingConfig

    def __repr__(self) -> str:
        return f"TrialConfig({_short(self.adapter)}, {_short(self.training)})"

    def to_flat(self) -> dict[str, Json]:
        """All settings in one flat dictionary of JSON values; the two parts share no name."""
        return {**self.adapter.to_flat(), **self.training.to_flat()}

    @classmethod
    def from_flat(cls, flat: Mapping[str, object]) -> "TrialConfig":
        """Rebuilds what `to_flat` wrote.

        Raises:
            ConfigError: for an unknown or missing setting, or a bad value.
        """
        names = {field.name for field in dataclasses.fields(TrainingConfig)}
        training = {name: value for name, value in flat.items() if name in names}
        adapter = {name: value for name, value in flat.items() if name not in names}
        return cls(adapter_from_flat(adapter), training_from_flat(training))


def _short(config: AdapterConfig | TrainingConfig) -> str:
    """The expression that makes a configuration, without the settings at their defaults."""
    given = [
        f"{each.name}={value!r}"
        for each in dataclasses.fields(config)
        if (value := getattr(config, each.name)) != each.default
    ]
    return f"{type(config).__name__}({', '.join(given)})"


@dataclass(frozen=True, kw_only=True)
class AdapterSize:
    """Parameters of one adapter (docs/method.md, "Parameter efficiency").

    Attributes:
        trainable: parameters that are trained and exported.
        activated: parameters that one token uses.
        base_activated: parameters of the base, embeddings included, that one token uses.
    """

    trainable: int
    activated: int
    base_activated: int

    def __post_init__(self) -> None:
        for name in ("trainable", "activated", "base_activated"):
            require_positive(name, getattr(self, name), MAX_PARAMETERS)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the adapter's weights in fp32, without their file's header."""
        return 4 * self.trainable

    @property
    def optimizer_bytes(self) -> int:
        """Bytes of AdamW's state in fp32: two moments of every trainable parameter."""
        return 8 * self.trainable

    @property
    def trainable_percent(self) -> float:
        """Trainable parameters in percent of the base's activated ones."""
        return 100.0 * self.trainable / self.base_activated

    @property
    def activated_percent(self) -> float:
        """Activated PEFT parameters in percent of the base's activated ones."""
        return 100.0 * self.activated / self.base_activated


@dataclass(frozen=True, kw_only=True)
class Report:
    """A trial's losses and scores at a rung, after `step` optimiser steps.

    Attributes:
        step: optimiser steps done.
        train_loss: mean loss of the objective over the steps since the last report: nats per answer
            token, or per pair of answers.
        val_loss: the same on the validation split; compared at rungs.
        correct: validation examples answered correctly by greedy generation, or pairs of which
            the chosen answer is preferred.
        scored: validation examples that were scored: all at full length; at a rung fewer, or none.
        lr: learning rate of the last step.
        tokens_per_second: the trial's own training tokens over the time since the last report.
        router_load: share of the tokens that each PEFT expert received, mean over layers and
            the steps since the last report; empty for variants without a PEFT router.
        router_entropy: entropy (nats) of the PEFT router's distribution, mean over tokens and
            layers; None for variants without one.
        measures: other metrics of the trial's objective on the validation split, by name.
    """

    step: int
    train_loss: float
    val_loss: float
    correct: int
    scored: int
    lr: float
    tokens_per_second: float
    router_load: tuple[float, ...] = ()
    router_entropy: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_positive("step", self.step)
        require_whole("scored", self.scored, 0)
        require_whole("correct", self.correct, 0)
        if self.correct > self.scored:
            raise ConfigError(
                f"correct must be at most scored, found {self.correct:,} of {self.scored:,}"
            )
        for name in ("train_loss", "val_loss"):
            if not getattr(self, name) > -math.inf:
                raise ConfigError(f"{name} must be a number, found {getattr(self, name)}")
        for name in ("lr", "tokens_per_second"):
            require_at_least_zero(name, getattr(self, name))
        if self.router_entropy is not None:  # rounding may put it a hair below 0
            require_number("router_entropy", self.router_entropy)
        for name in self.measures:
            if not name.isidentifier():
                raise ConfigError(f"measures must be named by identifiers, found {shown(name)}")
        for share in self.router_load:
            require_at_least_zero("router_load", share)

    @property
    def accuracy(self) -> float:
        """Share of the scored validation examples that were right, in [0, 1]."""
        return self.correct / self.scored if self.scored else 0.0

    def to_json(self) -> dict[str, Json]:
        """The report as a dictionary of JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Report":
        """Rebuilds what `to_json` wrote.

        Raises:
            ConfigError: for a missing, unknown or wrong field; names it.
        """
        return read_fields(cls, value)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a trial comes from that the sampler did not draw. It is a trial of its own.

    Attributes:
        kind: "continue": the configuration of `trial`, from the state in which it was stopped;
            "clone": another configuration, from the adapter of `trial`; "confirm": the
            configuration of `trial` with another seed, from scratch; "add": a configuration that
            the user gave.
        trial: the number of the other trial; None for "add".
        step: of the state that it starts from; a continued trial reports after it. A clone starts
            from the latest state, and this is the step of the last report before it was asked for.
    """

    kind: OriginKind
    trial: int | None = None
    step: int = 0

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, get_args(OriginKind))
        if (self.trial is None) != (self.kind == "add"):
            raise ConfigError(
                f"trial must name the other trial, unless the kind is add; found {self.trial} "
                f"for {self.kind}"
            )
        if self.trial is not None:
            require_whole("trial", self.trial, 0)
        require_whole("step", self.step, 0)


def first_step(origin: Origin | None) -> int:
    """The step from which a trial trains: 0, unless it continues another one."""
    return origin.step if origin is not None and origin.kind == "continue" else 0


def is_confirmation(origin: Origin | None) -> bool:
    """Whether a trial only repeats another one."""
    return origin is not None and origin.kind == "confirm"


def follows_from_params(origin: Origin | None, params: Mapping[str, Json]) -> bool:
    """Whether what a trial reports tells of its parameters, as with one that the sampler drew.

    Not of one with another seed, nor of one that starts from another's adapter.
    """
    return origin is None or (origin.kind in ("add", "continue") and bool(params))


@dataclass(frozen=True, kw_only=True, repr=False)
class TrialResult:
    """The result of one trial of a search.

    Attributes:
        number: the trial's number in the search, from 0, the same in Tune, Optuna and MLflow.
        config: its configuration.
        outcome: "complete" only for full-length trials, "pruned" for those stopped at a rung,
            "failed" for an error or a loss that is not finite.
        reports: one per rung that was reached, by step.
        size: parameter counts; None when the trial failed before its adapter was built.
        run_id: the trial's MLflow run; empty when tracking has not recorded it.
        error: why a failed trial failed; empty otherwise.
        params: the parameters of the search space that it was drawn with, by Optuna's names; empty
            if unknown.
        origin: where it comes from if the sampler did not draw it.
    """

    number: int
    config: TrialConfig
    outcome: Outcome
    reports: tuple[Report, ...] = ()
    size: AdapterSize | None = None
    run_id: str = ""
    error: str = ""
    params: Mapping[str, Json] = field(default_factory=dict)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        require_whole("number", self.number, 0)
        steps = [report.step for report in self.reports]
        if steps != sorted(set(steps)):
            raise ConfigError(f"reports must be of ascending steps, found those of {steps}")
        if self.outcome == "complete":
            if self.size is None or self.last is None:
                raise ConfigError("size and reports of a complete trial must be there")
            for report in self.reports:
                require_number("train_loss of a complete trial", report.train_loss)
                require_number("val_loss of a complete trial", report.val_loss)
        if not _RUN_ID.fullmatch(self.run_id):
            raise ConfigError(f"run_id must be the id of an MLflow run, found {shown(self.run_id)}")

    def __repr__(self) -> str:
        parts = [f"number={self.number}", f"outcome={self.outcome!r}"]
        if self.last is not None:
            accuracy = f", accuracy {self.last.accuracy:.1%}" if self.last.scored else ""
            parts.append(f"step {self.last.step}, val loss {self.last.val_loss:.4f}{accuracy}")
        if self.size is not None:
            parts.append(f"{self.size.activated:,} activated parameters")
        return f"<TrialResult {', '.join(parts)}, {self.config}>"

    @property
    def last(self) -> Report | None:
        """The last report, or None if no rung was reached."""
        return self.reports[-1] if self.reports else None

    def to_json(self) -> dict[str, Json]:
        """The result as a dictionary of JSON values."""
        return {
            "number": self.number,
            "config": self.config.to_flat(),
            "outcome": self.outcome,
            "reports": [report.to_json() for report in self.reports],
            "size": dataclasses.asdict(self.size) if self.size else None,
            "run_id": self.run_id,
            "error": self.error,
            "params": dict(self.params),
            "origin": dataclasses.asdict(self.origin) if self.origin else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "TrialResult":
        """Rebuilds what `to_json` wrote.

        Raises:
            ConfigError: for a missing, unknown or wrong field; names it.
        """
        flat = read_fields(_Flat, value)
        try:
            config = TrialConfig.from_flat(flat.config)
        except ConfigError as error:
            raise ConfigError(f"config: {error}") from error
        return cls(**{**vars(flat), "config": config})


@dataclass(frozen=True, kw_only=True)
class _Flat:
    """A `TrialResult` in JSON, with a flat configuration."""

    number: int
    config: Mapping[str, object]
    outcome: Outcome
    reports: tuple[Report, ...]
    size: AdapterSize | None
    run_id: str
    error: str
    params: Mapping[str, object] = field(default_factory=dict)
    origin: Origin | None = None
