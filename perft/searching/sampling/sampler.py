"""What a sampler is: it proposes trials, and hears how they do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution

from perft.config import AdapterConfig
from perft.files import Json
from perft.searching.space import Draw
from perft.trial import AdapterSize, Outcome, Report, TrialConfig


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A trial's configuration, with what it was drawn by.

    Attributes:
        config: its configuration.
        params: the values of the space's parameters, by Optuna's name.
        distributions: what they were drawn from.
    """

    config: TrialConfig
    params: Mapping[str, Json]
    distributions: Mapping[str, BaseDistribution]

    @classmethod
    def of(cls, config: TrialConfig, trial: optuna.trial.BaseTrial) -> "Draft":
        """What was drawn from an Optuna trial."""
        return cls(config=config, params=dict(trial.params), distributions=trial.distributions)


class Sampler(Protocol):
    """Proposes trials. Its proposals depend only on its seed and on what it heard, in that order.

    Trials are told apart by their numbers. It hears of those too that it did not draw.
    """

    def draw(self, number: int) -> Draft:
        """The next trial, which starts now."""

    def given(self, number: int, draft: Draft) -> None:
        """Notes that a trial which it did not draw starts now."""

    def reported(self, number: int, report: Report) -> None:
        """Notes a report, at a rung or at full length."""

    def ended(self, number: int, outcome: Outcome) -> None:
        """Notes how a trial ended, after its last report."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What a sampler is made from.

    Attributes:
        draw: draws a trial's configuration from an Optuna trial.
        size: parameters of an adapter on the base; None if it does not fit.
        allows: whether trials with adapters of that size, None if it does not fit the base, may be
            proposed.
        objective: what the search aims at, a name of `OBJECTIVES`.
        max_steps: optimiser steps of a full-length trial.
        seed: of the search.
    """

    draw: Draw
    size: Callable[[AdapterConfig], AdapterSize | None]
    allows: Callable[[AdapterSize | None], bool]
    objective: str
    max_steps: int
    seed: int
