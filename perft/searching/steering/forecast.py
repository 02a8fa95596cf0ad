"""Time and GPU hours of a search before it starts, from a measured step. No clock, no Ray."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from perft.errors import SearchError
from perft.files import Json
from perft.searching.settings import SearchSettings
from perft.searching.space import REDUCTION_FACTOR
from perft.searching.steering.budget import HOUR
from perft.searching.steering.control import trials_of
from perft.searching.steering.eta import TrialSoFar, duration, expected_steps, kept_shares
from perft.storage import Storage
from perft.tracking.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a search's time depends on.

    Attributes:
        num_trials: trials in all.
        rungs: steps after which a trial reports; the last is the full length.
        groups: worker groups.
        slots: trials that one group trains together.
        gpus: GPUs of all groups; 0 on CPUs.
        seconds_per_step: of a group that trains `slots` trials, evaluations included.
    """

    num_trials: int
    rungs: tuple[int, ...]
    groups: int
    slots: int
    gpus: float
    seconds_per_step: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a search takes if certain shares of its trials go on at its rungs.

    Attributes:
        steps: of all its trials together.
        hours: that it trains.
        gpu_hours: the same, times its GPUs.
    """

    steps: float
    hours: float
    gpu_hours: float


def forecast(setup: Setup, kept: Sequence[float]) -> Forecast:
    """What a search takes, without its start and its end.

    Args:
        setup: the search.
        kept: by rung before the last, the share of the trials that go on there.
    """
    shares = dict(zip(setup.rungs, kept, strict=False))
    steps = setup.num_trials * expected_steps(setup.rungs, shares)
    in_a_row = max(steps / (setup.groups * setup.slots), setup.rungs[-1])
    hours = in_a_row * setup.seconds_per_step / HOUR
    return Forecast(steps=steps, hours=hours, gpu_hours=hours * setup.gpus)


def seconds_per_step(trials: Iterable[TrialRecord], name: str) -> float:
    """Seconds of a step in an earlier search: the median over its trials' times between rungs.

    The time before a trial's first report, which has the loading of the base and compiling in it,
    counts only if no trial has a second one.

    Args:
        trials: of the search.
        name: the search's, for errors.

    Raises:
        SearchError: if no trial has reported.
    """
    first, later = [], []
    for trial in trials:
        at = [(trial.started, 0), *((time, report.step) for time, report in trial.reports)]
        spans = [
            (then - now) / 1000 / (after - before)
            for (now, before), (then, after) in itertools.pairwise(at)
        ]
        first += spans[:1]
        later += spans[1:]
    if not (first or later):
        raise SearchError(f"no trial of search {name!r} has reported, so no step was measured")
    return median(later or first)


def setup_like(settings: SearchSettings, trials: Sequence[TrialRecord]) -> Setup:
    """The setup of an earlier search, with its measured step.

    Raises:
        SearchError: if nothing was measured in it.
    """
    groups, slots = settings.groups or 1, settings.slots or 1
    return Setup(
        num_trials=len(trials),
        rungs=settings.rungs,
        groups=groups,
        slots=slots,
        gpus=groups * settings.workers_per_group * (settings.gpus_per_worker or 0),
        seconds_per_step=seconds_per_step(trials, settings.name),
    )


def kept_like(rungs: Sequence[int], trials: Sequence[TrialRecord]) -> list[float]:
    """By rung before the last, the share of an earlier search's trials that went on there."""
    ended = [trial for trial in trials if trial.outcome is not None and trial.reports]
    steps = [trial.reports[-1][1].step for trial in ended]
    so_far = [TrialSoFar(step, step, t.outcome) for step, t in zip(steps, ended, strict=True)]
    return list(kept_shares(rungs, so_far).values())


@dataclass(frozen=True)
class SearchTime:
    """How long a search takes, for a user.

    Attributes:
        setup: the search.
        found: the forecast; of several, from the least to the most.
    """

    setup: Setup
    found: tuple[Forecast, ...]

    def __str__(self) -> str:
        setup = self.setup
        steps = _range([f"{each.steps:,.0f}" for each in self.found])
        times = _range([duration(each.hours * HOUR) for each in self.found])
        gpu_hours = _range([f"{each.gpu_hours:,.2f}" for each in self.found])
        return (
            f"{setup.num_trials:,} trials of {setup.rungs[-1]:,} steps, "
            f"{setup.groups * setup.slots} at a time, {setup.seconds_per_step:.3g} s per step: "
            f"{steps} steps in all, about {times}"
            + (f", {gpu_hours} GPU hours" if setup.gpus else "")
        )

    def to_json(self) -> dict[str, Json]:
        """The same as a dictionary of JSON values, ranges as lists."""
        setup = self.setup
        return {
            "num_trials": setup.num_trials,
            "max_steps": setup.rungs[-1],
            "trials_at_once": setup.groups * setup.slots,
            "seconds_per_step": setup.seconds_per_step,
            "steps": [each.steps for each in self.found],
            "hours": [each.hours for each in self.found],
            "gpu_hours": [each.gpu_hours for each in self.found] if setup.gpus else None,
        }


def time_of(setup: Setup) -> SearchTime:
    """How long a search takes if one in `REDUCTION_FACTOR` trials goes on at each rung, or all."""
    rungs = len(setup.rungs) - 1
    halved = forecast(setup, [1 / REDUCTION_FACTOR] * rungs)
    return SearchTime(setup, (halved, forecast(setup, [1.0] * rungs)))


def time_like(search: Storage, num_trials: int) -> SearchTime:
    """How long a search of so many trials takes that is otherwise like an earlier one.

    Raises:
        SearchError: if no trial of that one has reported.
        StorageError: if its folder cannot be read.
    """
    trials = list(trials_of(search).values())
    setup = replace(setup_like(SearchSettings.read(search), trials), num_trials=num_trials)
    return SearchTime(setup, (forecast(setup, kept_like(setup.rungs, trials)),))


def _range(texts: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys(texts))
