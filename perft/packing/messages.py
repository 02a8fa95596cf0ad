"""The messages between the processes of a search, and their order.

Three kinds of processes talk, and only with the coordinator (`coordinator.py`), an actor that
decides by `Rounds` which call waits. The *driver* runs Tune's loop, with the searcher, the
scheduler and the callback; a *thin trial* is the process that Tune takes for a trial; the *workers*
of a group train. One report takes this path:

 1. driver: Tune asks the searcher, which asks the agenda for a trial. The callback hears of it.
 2. thin trial: `next_report(trial, config, after, origin)`, and waits; `after` is the step of the
    last report it got, 0 at first.
 3. worker: `next_work(group, None)`, and waits. When every trial that can run has asked, a round
    starts, and each group gets a `Work` with an `Assignment` for each of its trials.
 4. worker: trains, writes the states of its trials, then `next_work(group, results)`, where each
    trial has a `Reported`, a `Failed`, or a `NotDue` between two rungs.
 5. coordinator: when all groups have handed in results, it answers the due thin trial with the
    lowest loss: `Reported`, and at last those that `Failed`. The others still wait.
 6. driver: what the user has commanded is applied. Tune gives the report to the scheduler (does the
    trial continue?), then to the searcher (only if it does), then to the callback.
 7. driver, if the trial continues: the callback sends `processed(trial, step)`, which releases the
    next thin trial's answer (5); the thin trial asks for its next report (2).
 8. driver, if it ended (complete, pruned, or failed): the searcher is told how, then the callback,
    which sends `ended(trial)`; that releases the next thin trial's answer (5).
    Before 7 and 8 it sends `expect(trials)` if the number of the search's trials has changed. It
    sends 7 and 8 only when all trials are proposed that can be now (1): as a rule, the one that
    replaces a trial that has ended.
 9. coordinator: when the search has acted on the last report, the round is over, and 3 follows.

So the searcher and the scheduler get one report after the other, in the order of their losses,
whatever the processes' timing. Workers also send their progress (`stage`, `note`, `note_steps`,
`beat`), say that they have kept their batch when Ray warns (`kept`), and at the end the driver has
chosen trials and the base scored (`score`, `scored`).

Constructors validate messages, but Ray pickles them, and unpickling calls no constructor. So the
coordinator checks every message that arrives, and `CoordinatorHandle` every answer, with
`received`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perft.base_score import BaseScore
from perft.checks import require_whole
from perft.config import TrainingConfig
from perft.config.typed import typed
from perft.errors import ConfigError, SearchError
from perft.trial import AdapterSize, Origin, Report, SplitScores, TrialConfig


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One trial's part of a round.

    Attributes:
        trial: its number.
        config: its configuration.
        reached: optimiser steps it has done.
        target: optimiser steps to reach, more than `reached`.
        due: whether `target` is a rung, where it reports.
        origin: where it comes from if the sampler did not draw it.
    """

    trial: int
    config: TrialConfig
    reached: int
    target: int
    due: bool
    origin: Origin | None = None

    def __post_init__(self) -> None:
        require_whole("trial", self.trial, 0)
        require_whole("reached", self.reached, 0)
        require_whole("target", self.target, self.reached + 1)


@dataclass(frozen=True, kw_only=True)
class ToScore:
    """What is to be scored at the end.

    Attributes:
        trials: on the test splits.
        base: how the loss of the base alone is computed, if it is to be scored, too: by this
            objective, on rows cut to this `max_length`.
    """

    trials: tuple[int, ...] = ()
    base: TrainingConfig | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to score."""
        return bool(self.trials) or self.base is not None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a group does next; if all fields are empty, it asks again.

    Attributes:
        assignments: trials to train, together.
        to_score: what to score.
        stop: whether to end instead.
    """

    assignments: tuple[Assignment, ...] = ()
    to_score: ToScore = ToScore()
    stop: bool = False


@dataclass(frozen=True)
class Reported:
    """A trial has reached a rung, or its full length.

    Attributes:
        report: its losses and scores there.
        size: of its adapter.
    """

    report: Report
    size: AdapterSize


@dataclass(frozen=True)
class Failed:
    """A trial has failed; the others continue."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason:
            raise ConfigError("reason must say why the trial failed, found nothing")


@dataclass(frozen=True)
class NotDue:
    """A trial has done its steps of this round, and is not at a rung yet.

    Attributes:
        step: optimiser steps it has done.
    """

    step: int

    def __post_init__(self) -> None:
        require_whole("step", self.step, 0)


@dataclass(frozen=True)
class SearchOver:
    """The search has failed: no trial gets another report."""

    reason: str


BatchResult = Reported | Failed | NotDue
"""The result of one trial of a group's batch."""

BatchResults = Mapping[int, BatchResult]
"""The results of a group's batch, by trial."""

NextReport = Reported | Failed | SearchOver
"""The answer to a thin trial that asked for its next report."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores of what was `ToScore`.

    Attributes:
        trials: scores on the test splits, by trial.
        base: that of the base alone; None if it was not asked for.
    """

    trials: Mapping[int, SplitScores] = field(default_factory=dict)
    base: BaseScore | None = None


@dataclass(frozen=True, kw_only=True)
class GroupStatus:
    """The state of the worker groups, for the progress display.

    Attributes:
        started: groups whose processes have sent something.
        ready: groups that have loaded their base.
        stages: by group, what it does before it is ready.
        steps: by trial, the optimiser steps it has done.
        fatal: why the search has failed; empty if it has not.
    """

    started: tuple[int, ...] = ()
    ready: tuple[int, ...] = ()
    stages: Mapping[int, str] = field(default_factory=dict)
    steps: Mapping[int, int] = field(default_factory=dict)
    fatal: str = ""


def received(kind: object, value: object, name: str) -> Any:
    """Checks a message of another process: every field's type, and every constructor again.

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
