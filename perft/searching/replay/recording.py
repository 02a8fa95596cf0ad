"""Recorded trials as answers: how a trial that was never trained would have done."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from perft.config import AdapterConfig
from perft.errors import SearchError
from perft.files import Json
from perft.packing.messages import Reported
from perft.trial import AdapterSize, TrialConfig, TrialResult

_NOT_COMPARED = ("seed", "max_steps", "warmup_steps")


class Recording:
    """Trials of one space, trained to the same full length or stopped before.

    A configuration is answered for by the recorded one that is nearest: by the number of settings
    in which they differ, where two positive numbers differ by the logarithm (base 2) of their
    ratio. So with a recording of every adapter it is the same adapter at the nearest rate.

    A trial that was continued is one with that which it continues. What says nothing about its
    configuration from scratch, with the seed of the others, is left out: clones, and confirmations.

    Args:
        trials: those that failed before their first report are left out.

    Raises:
        SearchError: if none is left.
    """

    def __init__(self, trials: Sequence[TrialResult]) -> None:
        self.trials = [trial for trial in _whole(trials) if trial.reports and trial.size]
        if not self.trials:
            raise SearchError("no recorded trial has reached a rung, so there is nothing to replay")
        self._settings = [_compared(trial.config) for trial in self.trials]
        self._nearest: dict[TrialConfig, TrialResult] = {}
        self._sizes: dict[AdapterConfig, AdapterSize] = {}

    def nearest(self, config: TrialConfig) -> TrialResult:
        """The recorded trial that answers for a configuration; of equally near ones the first."""
        if config not in self._nearest:
            wanted = _compared(config)
            distances = [_distance(wanted, settings) for settings in self._settings]
            self._nearest[config] = self.trials[distances.index(min(distances))]
        return self._nearest[config]

    def reported(self, config: TrialConfig, step: int) -> Reported | None:
        """Its report after `step` optimiser steps; None if it was stopped or failed before."""
        trial = self.nearest(config)
        assert trial.size is not None
        found = (report for report in trial.reports if report.step == step)
        return next((Reported(report, trial.size) for report in found), None)

    def size(self, adapter: AdapterConfig) -> AdapterSize:
        """Parameters of the recorded adapter that is nearest."""
        if adapter not in self._sizes:
            wanted = adapter.to_flat()
            near = min(
                self.trials, key=lambda each: _distance(wanted, each.config.adapter.to_flat())
            )
            assert near.size is not None
            self._sizes[adapter] = near.size
        return self._sizes[adapter]


def _whole(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials from scratch, each with the reports of its continuation, if there is one."""
    found: dict[int, TrialResult] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        origin = trial.origin
        if origin is None or origin.kind == "add":
            found[trial.number] = trial
        elif origin.kind == "continue" and origin.trial in found:
            before = found.pop(origin.trial)
            found[trial.number] = replace(trial, reports=before.reports + trial.reports)
    return list(found.values())


def _compared(config: TrialConfig) -> dict[str, Json]:
    return {name: value for name, value in config.to_flat().items() if name not in _NOT_COMPARED}


def _distance(one: Mapping[str, Json], other: Mapping[str, Json]) -> float:
    names = one.keys() | other.keys()
    return sum(_difference(one.get(name), other.get(name)) for name in names)


def _difference(one: Json, other: Json) -> float:
    if one == other:
        return 0.0
    if _is_positive(one) and _is_positive(other):
        assert isinstance(one, (int, float))
        assert isinstance(other, (int, float))
        return abs(math.log2(one / other))
    return 1.0


def _is_positive(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
