"""Passes Ray Tune's events to the ledger, those who listen, and the coordinator.

The coordinator releases one report after the other, each when the search has acted on the one
before. It learns of that only when all trials that can be proposed then are proposed: so a proposal
does not depend on timing, and Tune gives a new trial the process of the one that has ended.
`perft/packing/messages.py` lists all messages.
"""

import functools
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray import tune

from perft.errors import PerftError, SearchError
from perft.packing.deaths import DEATHS
from perft.packing.handle import CoordinatorHandle
from perft.searching.agenda import Agenda
from perft.searching.ledger import Ledger
from perft.searching.listeners import Listener
from perft.searching.steering.interventions import Interventions
from perft.searching.tune.tune_dicts import DONE, NUMBER, Proposal, from_result

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

LOOK_SECONDS = 1.0
"""Time between two checks that the search has not failed."""


def _ending(method: Callable[..., None]) -> Callable[..., None]:
    """Makes perft's errors in a method end the search; Tune would only fail the trial."""

    @functools.wraps(method)
    def ending(self: "TuneCallback", *args: object, **info: object) -> None:
        if self.failure is None:
            try:
                method(self, *args, **info)
            except PerftError as error:
                self.failure = error

    return ending


class TuneCallback(tune.Callback):  # type: ignore[misc]
    """Tune callback of one search; runs in the driver.

    Args:
        ledger: the search's ledger.
        listener: hears of reports and ends.
        coordinator: the coordinator.
        agenda: what the search proposes.
        interventions: what is commanded meanwhile.
        trials_at_once: trials that all groups together train at a time.

    Attributes:
        failure: why the search ends early; None if it does not.
    """

    def __init__(
        self,
        ledger: Ledger,
        listener: Listener,
        coordinator: CoordinatorHandle,
        agenda: Agenda,
        *,
        interventions: Interventions,
        trials_at_once: int,
    ) -> None:
        self._ledger = ledger
        self._listener = listener
        self._coordinator = coordinator
        self._agenda = agenda
        self._interventions = interventions
        self._trials_at_once = trials_at_once
        self._expected = agenda.num_trials  # what the coordinator knows
        self.failure: PerftError | None = None
        self._looked = time.monotonic()
        self._held: deque[Callable[[], None]] = deque()  # messages that wait for proposals

    def __getstate__(self) -> dict[str, object]:
        """Empty: Tune pickles its callbacks for a restore that perft never does."""
        return {}

    def is_over(self) -> bool:
        """Whether the search must end early: `failure` says why."""
        now = time.monotonic()
        if self.failure is None and now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._look()
            self._measure()
        return self.failure is not None

    @_ending
    def before_result(self, trial_id: str, step: int) -> None:
        """Applies what is commanded before the search acts on a report."""
        self._interventions.before_report(trial_id, step)

    def proposed(self) -> None:
        """Notes that a trial was proposed."""
        self._send()

    @_ending
    def on_trial_start(
        self, iteration: int, trials: "list[Trial]", trial: "Trial", **info: object
    ) -> None:
        """Adds a trial that has started, or started again in a new process."""
        self._start(trial)

    @_ending
    def on_trial_result(
        self,
        iteration: int,
        trials: "list[Trial]",
        trial: "Trial",
        result: dict[str, object],
        **info: object,
    ) -> None:
        """Records a report on which scheduler and searcher have acted."""
        number, reported = trial.config[NUMBER], from_result(result)
        if not result[DONE]:
            processed = functools.partial(self._coordinator.processed, number, reported.report.step)
            self._held.append(processed)
        self._send()
        self._listener.reported(self._ledger.report(number, reported))

    @_ending
    def on_trial_complete(
        self, iteration: int, trials: "list[Trial]", trial: "Trial", **info: object
    ) -> None:
        """Ends a trial that reached its full length or was pruned."""
        number = trial.config[NUMBER]
        self._listener.ended(self._ledger.end(number))
        self._end(number)

    @_ending
    def on_trial_error(
        self, iteration: int, trials: "list[Trial]", trial: "Trial", **info: object
    ) -> None:
        """Ends a trial that failed, unless the whole search has failed."""
        self._look()
        if self.failure is not None:
            return
        number = self._start(trial)
        self._interventions.failed(number)
        reason = self._coordinator.failure_of(number) or "the trial's process died"
        self._listener.ended(self._ledger.end(number, reason))
        self._end(number)

    def _start(self, trial: "Trial") -> int:
        proposal = Proposal.from_tune(trial.config)
        self._ledger.start(proposal.number, proposal.trial, proposal.params, proposal.origin)
        return proposal.number

    @_ending
    def _measure(self) -> None:
        self._interventions.measure()

    def _look(self) -> None:
        """Asks the coordinator whether the search has failed."""
        try:
            if fatal := self._coordinator.status().fatal:
                self.failure = SearchError(fatal)
        except DEATHS:
            self.failure = SearchError("the coordinator died")

    def _end(self, number: int) -> None:
        self._held.append(functools.partial(self._coordinator.ended, number))
        if self._agenda.is_over:
            self._interventions.before_end()
        self._send()

    def _send(self) -> None:
        """Sends how many trials the search has, if that has changed, and what need not wait."""
        if self._expected != self._agenda.num_trials:
            self._expected = self._agenda.num_trials
            self._coordinator.expect(self._expected)
        while self._held and not self._can_propose():
            self._held.popleft()()

    def _can_propose(self) -> bool:
        """Whether Tune will ask for a trial and get one."""
        is_free = self._agenda.running < self._trials_at_once
        return is_free and self._agenda.num_trials > self._agenda.proposed
