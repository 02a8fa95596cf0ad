"""A search's Optuna study: it draws trials, and hears how each ended.

A full-length trial is COMPLETE, one stopped at a rung is PRUNED with its last value, and one with
an error or a value that is not finite is FAIL.
"""

import math
from collections.abc import Mapping

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from perft.files import Json
from perft.packing.messages import Reported
from perft.search.agenda import Trial
from perft.search.space import Draw
from perft.trial import Origin, Outcome, TrialConfig


class OptunaStudy:
    """The study of one search.

    Args:
        draw: draws a trial's configuration from an Optuna trial.
        sampler: Optuna's sampler.
        storage: Optuna's storage; None for memory.
        name: of the study.
    """

    def __init__(
        self, draw: Draw, sampler: BaseSampler, storage: BaseStorage | None, name: str
    ) -> None:
        self._draw = draw
        self.study = optuna.create_study(
            sampler=sampler, storage=storage, study_name=name, direction="minimize"
        )
        self._running: dict[int, optuna.Trial] = {}

    def draw(self) -> Trial:
        """The sampler's next trial."""
        trial = self.study.ask()
        config = self._draw(trial)
        self._running[trial.number] = trial
        return Trial(number=trial.number, config=config, params=trial.params)

    def given(
        self, config: TrialConfig, params: Mapping[str, Json], origin: Origin | None
    ) -> Trial:
        """A trial that the sampler did not draw."""
        self.study.add_trial(create_trial(state=TrialState.RUNNING))
        number = len(self.study.get_trials(deepcopy=False)) - 1
        return Trial(number=number, config=config, params=params, origin=origin)

    def reported(self, number: int, reported: Reported) -> None:
        """Notes a report at a rung, after which the trial continues."""
        if number in self._running:
            self._running[number].report(reported.report.val_loss, reported.report.step)

    def ended(self, number: int, outcome: Outcome, last: Reported | None) -> None:
        """Notes how a trial ended, with its last report."""
        trial = self._running.pop(number, None)
        if trial is None or outcome == "failed" or last is None:
            self.study.tell(number, state=TrialState.FAIL)
            return
        trial.report(last.report.val_loss, last.report.step)
        if outcome == "complete":
            self.study.tell(trial, last.report.val_loss)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)


def is_finite(reported: Reported) -> bool:
    """Whether its loss can be compared."""
    return math.isfinite(reported.report.val_loss)
