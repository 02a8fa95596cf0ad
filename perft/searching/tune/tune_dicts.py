"""Converts proposals and results to and from the dictionaries that Ray Tune passes on.

Tune passes a trial's configuration from the searcher to the thin trial and to the callback, and its
results from the thin trial to the scheduler, the searcher and the callback. Only this module
converts them; the keys that Tune and the searcher read themselves are constants.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perft.config.typed import read_fields
from perft.files import Json
from perft.packing.messages import Reported
from perft.trial import AdapterSize, Origin, Report, TrialConfig

NUMBER = "number"
"""Key of a configuration: the trial's number."""

METRIC, STEP = "val_loss", "step"
"""Keys of a result: the loss, which Tune wants to be named, and the optimiser steps done."""

FULL_LENGTH, DONE = "full_length", "done"
"""Keys of a result: whether all of the trial's steps are done; and whether the trial ends, which
Tune also sets for a trial that the scheduler stops."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial as the searcher proposes it.

    Attributes:
        number: its number in the search and in Optuna.
        trial: its configuration.
        params: the parameters that it was drawn with.
        origin: where it comes from if the sampler did not draw it.
        coordinator: name of the coordinator's actor.
        namespace: Ray namespace of that actor.
    """

    number: int
    trial: TrialConfig
    coordinator: str
    namespace: str
    params: Mapping[str, Json] = field(default_factory=dict)
    origin: Origin | None = None

    def to_tune(self) -> dict[str, Any]:
        """The trial's Tune configuration, of JSON values."""
        origin = dataclasses.asdict(self.origin) if self.origin else None
        return {**vars(self), "trial": self.trial.to_flat(), "origin": origin}

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> "Proposal":
        """The proposal of a Tune configuration."""
        origin = Origin(**config["origin"]) if config["origin"] else None
        trial = TrialConfig.from_flat(config["trial"])
        return cls(**{**config, "trial": trial, "origin": origin})


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
    """The report and size in a Tune result."""
    return Reported(Report.from_json(result["report"]), read_fields(AdapterSize, result["size"]))


def from_flat_result(result: Mapping[str, Any]) -> Reported:
    """Like `from_result`, for the flat keys that Tune gives its scheduler: "report/step" ..."""
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
