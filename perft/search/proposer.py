"""Proposes trials: Ray Tune's OptunaSearch, which also tells Optuna how each trial ended.

A full-length trial is COMPLETE, one stopped at a rung is PRUNED with its last value, and one with
an error or a value that is not finite is FAIL.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState

from perft.compat.ray_tune import OpenOptunaSearch
from perft.search.space import Draw
from perft.search.tune_dicts import FULL_LENGTH, METRIC, STEP, Proposal
from perft.trial import TrialConfig


class Proposer(OpenOptunaSearch):
    """Searcher of one search.

    Args:
        draw: draws a trial's configuration from an Optuna trial.
        coordinator: name of the coordinator's actor.
        namespace: Ray namespace of that actor.
        on_proposed: called after every proposal.
        sampler: Optuna's sampler.
        storage: Optuna's storage.
        study_name: name of the study.
    """

    def __init__(
        self,
        draw: Draw,
        coordinator: str,
        namespace: str,
        on_proposed: Callable[[], None],
        *,
        sampler: BaseSampler,
        storage: BaseStorage | None,
        study_name: str,
    ) -> None:
        self._draw = draw
        self._coordinator, self._namespace = coordinator, namespace
        self._on_proposed = on_proposed
        super().__init__(
            self._define,
            metric=METRIC,
            mode="min",
            sampler=sampler,
            storage=storage,
            study_name=study_name,
        )

    def __getstate__(self) -> dict[str, object]:
        """Empty: Tune pickles its searcher for a restore that perft never does.

        A space may hold what cannot be pickled.
        """
        return {}

    def suggest(self, trial_id: str) -> dict[str, object]:
        """The next trial's Tune configuration."""
        proposed = super().suggest(trial_id)
        proposal = Proposal(
            number=self.trial_of(trial_id).number,
            trial=TrialConfig.from_flat(proposed["trial"]),
            coordinator=self._coordinator,
            namespace=self._namespace,
        )
        self._on_proposed()
        return proposal.to_tune()

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Reports a rung's value to Optuna."""
        self.trial_of(trial_id).report(result[METRIC], result[STEP])

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells Optuna how the trial ended."""
        if not self.note_end(trial_id):
            return
        trial = self.trial_of(trial_id)
        if error or not result or not math.isfinite(result[METRIC]):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        trial.report(result[METRIC], result[STEP])
        if result[FULL_LENGTH]:
            self.study.tell(trial, result[METRIC])
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing: a resumed search proposes the same trials again from its seed."""

    def _define(self, trial: Trial) -> dict[str, object]:
        return {"trial": self._draw(trial).to_flat()}
