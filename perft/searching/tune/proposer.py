"""Adapts the agenda to Ray Tune's searcher interface."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from perft.searching.agenda import Agenda
from perft.searching.tune.tune_dicts import FULL_LENGTH, METRIC, Proposal, from_flat_result
from perft.trial import Outcome


class Proposer(Searcher):  # type: ignore[misc]
    """Searcher of one search.

    Args:
        agenda: decides what is proposed.
        coordinator: name of the coordinator's actor.
        namespace: Ray namespace of that actor.
        on_proposed: called after every proposal.
    """

    def __init__(
        self, agenda: Agenda, coordinator: str, namespace: str, on_proposed: Callable[[], None]
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._agenda = agenda
        self._coordinator, self._namespace = coordinator, namespace
        self._on_proposed = on_proposed
        self._numbers: dict[str, int] = {}  # by Tune's id

    def __getstate__(self) -> dict[str, object]:
        """Empty: Tune pickles its searcher for a restore that perft never does.

        A space may hold what cannot be pickled.
        """
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's Tune configuration; None if there is none now, FINISHED at the end."""
        trial = self._agenda.next()
        if trial is None:
            return str(self.FINISHED) if self._agenda.is_over else None
        self._numbers[trial_id] = trial.number
        self._on_proposed()
        return Proposal(
            number=trial.number,
            trial=trial.config,
            params=trial.params,
            origin=trial.origin,
            coordinator=self._coordinator,
            namespace=self._namespace,
        ).to_tune()

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Notes a report after which the trial continues."""
        self._agenda.reported(self._numbers[trial_id], from_flat_result(result))

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Notes how the trial ended."""
        number = self._numbers[trial_id]
        if error or not result or not math.isfinite(result[METRIC]):
            self._agenda.ended(number, "failed")
            return
        outcome: Outcome = "complete" if result[FULL_LENGTH] else "pruned"
        self._agenda.ended(number, outcome, from_flat_result(result))

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing: a resumed search proposes the same trials again from its seed."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing, likewise."""
