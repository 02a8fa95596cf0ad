"""The conversation of a search: what its processes tell each other, and in which order.

Three kinds of processes talk, and only with the coordinator (`coordinator.py`), an actor that
decides by `Rounds` who has to wait. The *driver* runs Tune's loop, with the searcher, the scheduler
and the callback; a *thin trial* is the process that Tune takes for a trial; the *workers* of a
group train. The way of one report:

 1. driver: Tune asks the searcher, which asks Optuna for a configuration. The callback hears of
    the proposal; if the trial comes in the place of one that ended, it sends `ended(old)`.
 2. thin trial: `next_report(trial, config, after)`, and waits; `after` is the step of the last
    report it has, 0 at first.
 3. worker: `next_work(group, None)`, and waits. When every trial that can run has asked, a round
    starts, and each group is answered by a `Work` with an `Assignment` of each of its trials.
 4. worker: trains, writes the states of its trials, then `next_work(group, results)`, where each
    trial has a `Reported`, a `Failed`, or `NotDue` while it is on its way to a rung.
 5. coordinator: when the results of all groups are there, it answers the thin trial with the
    lowest number of those that are due: `Reported`, or `Failed`. The others still wait.
 6. driver: Tune gives the report to the scheduler (does the trial go on?), then to the searcher
    (only if it does), then to the callback.
 7. driver, if the trial goes on: the callback sends `processed(trial, step)`, which has the next
    thin trial answered (5); the thin trial asks for its next report (2).
 8. driver, if it ended (complete, pruned, or failed): the searcher hears how, then the callback,
    which sends nothing until the next trial is proposed in its place (1); `ended(old)` then has
    the next thin trial answered (5). When no trial is left to propose, it sends `ended` at once.
 9. coordinator: when the last report has been acted on, the round is over, and 3 follows.

So the searcher and the scheduler hear of one report after the other, in the order of the trials'
numbers, whatever the processes' timing. Beside that, workers say what they do (`stage`, `note`,
`note_steps`, `beat`), and at the end the driver has chosen trials scored (`score`, `scored`).

Messages are made by constructors, which refuse what makes no sense; but Ray pickles them, and what
is unpickled was never constructed here. So the coordinator checks every message at its door, and
`CoordinatorHandle` every answer, with `received`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perft.checks import require_whole
from perft.config.typed import typed
from perft.errors import ConfigError, SearchError
from perft.trial import AdapterSize, Report, SplitScores, TrialConfig


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One trial's part of a round.

    Attributes:
        trial: its number.
        config: what it trains.
        reached: optimiser steps it has behind it.
        target: optimiser steps to reach, more than `reached`.
        due: whether `target` is a rung, where it reports.
    """

    trial: int
    config: TrialConfig
    reached: int
    target: int
    due: bool

    def __post_init__(self) -> None:
        require_whole("trial", self.trial, 0)
        require_whole("reached", self.reached, 0)
        require_whole("target", self.target, self.reached + 1)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a group is to do next; nothing of all that: it asks again.

    Attributes:
        assignments: trials to train, together.
        to_score: trials to score on the test splits.
        stop: whether to end instead.
    """

    assignments: tuple[Assignment, ...] = ()
    to_score: tuple[int, ...] = ()
    stop: bool = False


@dataclass(frozen=True)
class Reported:
    """A trial has reached a rung, or its full length.

    Attributes:
        report: what it measured there.
        size: of its adapter.
    """

    report: Report
    size: AdapterSize


@dataclass(frozen=True)
class Failed:
    """A trial cannot go on; the others can."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason:
            raise ConfigError("reason must say why the trial failed, found nothing")


@dataclass(frozen=True)
class NotDue:
    """A trial has come as far as it was to come in this round, which is not yet a rung.

    Attributes:
        step: optimiser steps it has done.
    """

    step: int

    def __post_init__(self) -> None:
        require_whole("step", self.step, 0)


@dataclass(frozen=True)
class SearchOver:
    """No worker group can work any more: no trial gets another report."""

    reason: str


BatchResult = Reported | Failed | NotDue
"""What became of one trial of a group's batch."""

BatchResults = Mapping[int, BatchResult]
"""What became of a group's batch, by trial."""

NextReport = Reported | Failed | SearchOver
"""What a thin trial gets that asked for its next report."""

Scores = Mapping[int, SplitScores]
"""What chosen trials scored on the test splits, by trial."""


@dataclass(frozen=True, kw_only=True)
class GroupStatus:
    """How the worker groups are, for whoever watches.

    Attributes:
        started: groups whose processes have been heard of.
        ready: groups that have loaded their base.
        stages: by group, what it does before it is ready.
        steps: by trial, the optimiser steps it has done.
        fatal: why no group can work any more; empty while all is well.
    """

    started: tuple[int, ...] = ()
    ready: tuple[int, ...] = ()
    stages: Mapping[int, str] = field(default_factory=dict)
    steps: Mapping[int, int] = field(default_factory=dict)
    fatal: str = ""


def received(kind: object, value: object, name: str) -> Any:
    """A message of another process, with every field checked, and every constructor run again.

    Args:
        kind: the type it should have, as `typed` takes it.
        value: what arrived.
        name: what errors call it.

    Returns:
        The message, of the type `kind`.

    Raises:
        SearchError: if it is something else; names the field.
    """
    try:
        return typed(kind, value, name)
    except ConfigError as error:
        raise SearchError(
            f"a process of the search sent what it should not: {error}; "
            "every machine needs the same version of perft"
        ) from error
