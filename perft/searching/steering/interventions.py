"""Applies what a user commands and a clock decides to a running search, at its moments.

A search is a function of its seed and of the record of these
(`perft.searching.steering.event_log`).
"""

from collections.abc import Callable, Iterator

from perft.searching.agenda import Agenda
from perft.searching.steering.event_log import EventLog
from perft.searching.steering.events import (
    AddTrial,
    ClockDecision,
    Command,
    Moment,
    NoNewTrials,
    SetBudget,
    SetNumTrials,
    StopTrial,
    TimeIsUp,
)
from perft.searching.steering.outlook import Outlook
from perft.trial import Origin


class Interventions:
    """The interventions in one search.

    Args:
        log: its events.
        agenda: what it proposes.
        outlook: measures it.
        tell: shows the user a line.

    Raises:
        StorageError: from every method, if the search's folder cannot be read or written.
    """

    def __init__(
        self, log: EventLog, agenda: Agenda, outlook: Outlook, tell: Callable[[str], None]
    ) -> None:
        self._log, self._agenda, self._outlook, self._tell = log, agenda, outlook, tell
        self._seen: set[tuple[str, int]] = set()  # by Tune's id of the trial, and step
        self._failed: set[int] = set()
        self._to_stop: set[int] = set()
        self._takes_new, self._time_is_up = True, False

    def before_report(self, trial_id: str, step: int) -> None:
        """Applies what is due before the search acts on a report; a repeated report is none.

        Args:
            trial_id: Tune's id of the trial.
            step: of the report.
        """
        if (trial_id, step) in self._seen:
            return
        self.measure()
        self._apply(self._moment(is_running=True))
        self._seen.add((trial_id, step))

    def failed(self, trial: int) -> None:
        """Counts a trial that has failed in place of a report."""
        self._failed.add(trial)

    def before_end(self) -> None:
        """Applies what is due when all trials have ended, and no more would be proposed."""
        self._apply(self._moment(is_running=False))

    def measure(self) -> None:
        """Measures the search, unless it repeats what was trained before."""
        if self._log.is_live(self._moment(is_running=True)):
            self._outlook.measure()

    def stops(self, trial: int) -> bool:
        """Whether a trial that has reached a rung is stopped there."""
        return self._time_is_up or trial in self._to_stop

    def _moment(self, *, is_running: bool) -> Moment:
        return Moment(len(self._seen) + len(self._failed), is_running)

    def _apply(self, moment: Moment) -> None:
        for event in self._log.due(moment, self._clock_decisions if moment.is_running else tuple):
            self._act(event.action)

    def _clock_decisions(self) -> Iterator[ClockDecision]:
        """What the clock decides that it has not decided before."""
        found = self._outlook.clock_decision()
        is_over = isinstance(found, TimeIsUp) and not self._time_is_up
        is_late = isinstance(found, NoNewTrials) and self._takes_new and self._agenda.to_come > 0
        if found is not None and (is_over or is_late):
            yield found

    def _act(self, action: Command | ClockDecision) -> None:
        match action:
            case StopTrial(trial=trial):
                self._stop(trial)
            case AddTrial():
                self._add(action)
            case SetNumTrials(count=count):
                self._agenda.draw(count)
                self._tell(f"as commanded, the search draws trials until there are {count}")
            case SetBudget(budget=budget):
                self._outlook.budget = budget
                self._agenda.bound(budget.max_steps_total)
                self._agenda.open()
                self._takes_new, self._time_is_up = True, False
                self._tell(f"as commanded, the search has another budget: {budget}")
            case NoNewTrials(reason=reason):
                self._close(reason)
            case TimeIsUp(reason=reason):
                self._time_is_up = True
                self._close(reason)

    def _close(self, reason: str) -> None:
        self._takes_new = False
        self._agenda.close()
        self._tell(reason)

    def _stop(self, trial: int) -> None:
        if self._agenda.is_running(trial):
            self._to_stop.add(trial)
            self._agenda.abandon(trial)
            self._tell(f"as commanded, trial {trial} stops at its next rung")
        else:
            self._tell(f"trial {trial} was to be stopped, but does not run")

    def _add(self, action: AddTrial) -> None:
        other = action.clone_of
        if other is None:
            self._agenda.add(action.config, Origin(kind="add"))
            self._tell("as commanded, a trial is added")
        elif (step := self._agenda.last_step(other)) is not None:
            self._agenda.add(action.config, Origin(kind="clone", trial=other, step=step))
            self._tell(f"as commanded, a clone of trial {other} is added")
        else:
            self._tell(f"trial {other} was to be cloned, but has no adapter")
