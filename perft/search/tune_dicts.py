"""What passes through Ray Tune, which knows only dictionaries: a proposal, and a trial's result.

Tune hands on a trial's configuration from the searcher to the thin trial and to the callback, and
its results from the thin trial to the scheduler, the searcher and the callback. Here alone is each
made into a dictionary, and back into what it was; the keys that Tune and the searcher look at
themselves have names.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perft.config.typed import read_fields
from perft.packing.messages import Reported
from perft.trial import AdapterSize, Report, TrialConfig

NUMBER = "number"
"""Of a configuration: the trial's number."""

METRIC, STEP = "val_loss", "step"
"""Of a result: what ASHA and Optuna compare, and after how many optimiser steps."""

FULL_LENGTH, DONE = "full_length", "done"
"""Of a result: whether all of the trial's steps are done; and whether it ends with it: Tune sets
that of a trial which the scheduler stops, too."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial as the searcher proposes it.

    Attributes:
        number: its number in the search, Optuna's too.
        trial: what it trains.
        coordinator: name of the coordinator's actor.
        namespace: Ray namespace of that actor.
    """

    number: int
    trial: TrialConfig
    coordinator: str
    namespace: str

    def to_tune(self) -> dict[str, Any]:
        """The trial's Tune configuration, of JSON values."""
        return {**vars(self), "trial": self.trial.to_flat()}

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> "Proposal":
        """What a Tune configuration was made of."""
        return cls(**{**config, "trial": TrialConfig.from_flat(config["trial"])})


def to_result(reported: Reported, config: TrialConfig) -> dict[str, Any]:
    """The Tune result of a trial of that configuration, of JSON values."""
    report, size = reported.report, reported.size
    is_full_length = config.training.is_full_length(report.step)
    return {
        STEP: report.step,
        METRIC: report.val_loss,
        "report": report.to_json(),
        "size": dataclasses.asdict(size),
        FULL_LENGTH: is_full_length,
        DONE: is_full_length,
    }


def from_result(result: Mapping[str, Any]) -> Reported:
    """What a Tune result was made of."""
    return Reported(Report.from_json(result["report"]), read_fields(AdapterSize, result["size"]))


def from_flat_result(result: Mapping[str, Any]) -> Reported:
    """As `from_result`, of the flat dictionary that Tune gives its scheduler: "report/step" ..."""
    nested: dict[str, Any] = {"report": {}, "size": {}}
    for key, value in result.items():
        *path, name = key.split("/")
        if not path or path[0] not in nested:
            continue
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return from_result(nested)
