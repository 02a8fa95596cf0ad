"""The Optuna study in a search's folder: the truth about every trial, for Optuna's own tools.

    storage = JournalStorage(JournalFileBackend(".../optuna.journal"))
    study = optuna.load_study(study_name=NAME, storage=storage)  # or perft.results(NAME).study

A full-length trial is COMPLETE with what the search aims at: with its accuracy and its activated
parameters for the front, else with one of accuracy and validation loss. A trial that was stopped at
a rung is PRUNED, one with an error or a loss that is not finite FAIL; neither has values. All have
user attributes: `reports`, by step their loss and accuracy; the parameters of their adapter; and
where they come from if the sampler did not draw them. Nothing is read back from it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from perft.files import Json
from perft.packing.messages import Reported
from perft.searching.objectives import ACCURACY, FRONT, LOSS
from perft.searching.sampling.quiet import quiet_optuna
from perft.searching.sampling.sampler import Draft
from perft.selection import objective as objective_of
from perft.trial import Origin, Outcome, Report

_METRICS = {
    FRONT: {
        "accuracy": StudyDirection.MAXIMIZE,
        "activated parameters": StudyDirection.MINIMIZE,
    },
    ACCURACY: {"accuracy": StudyDirection.MAXIMIZE},
    LOSS: {"validation loss": StudyDirection.MINIMIZE},
}
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def load_study(journal: Path, name: str) -> optuna.Study:
    """The study of a search.

    Args:
        journal: the file that holds it.
        name: of the search.
    """
    with quiet_optuna():
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.load_study(study_name=name, storage=storage)


class Record:
    """The study of one search.

    Args:
        storage: where Optuna keeps it; None for memory.
        name: of the study.
        objective: what the search aims at, a name of `OBJECTIVES`.
    """

    def __init__(self, storage: BaseStorage | None, name: str, objective: str) -> None:
        self._storage = storage or InMemoryStorage()
        self._objective = objective
        metrics = _METRICS[objective]
        with quiet_optuna():
            self.study = optuna.create_study(
                storage=self._storage, study_name=name, directions=list(metrics.values())
            )
            self.study.set_metric_names(list(metrics))
        self._id = self._storage.get_study_id_from_name(name)
        self._trials: list[int] = []  # Optuna's ids, by number

    def start(self, draft: Draft, origin: Origin | None) -> int:
        """Adds a trial that starts; returns its number, the next."""
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(draft.params),
            distributions=dict(draft.distributions),
            user_attrs={} if origin is None else {"origin": dataclasses.asdict(origin)},
        )
        self._trials.append(self._storage.create_new_trial(self._id, template_trial=template))
        return len(self._trials) - 1

    def end(self, number: int, outcome: Outcome, reported: Sequence[Reported]) -> None:
        """Notes how a trial ended, with all its reports."""
        trial = self._trials[number]
        for name, value in _attributes(reported).items():
            self._storage.set_trial_user_attr(trial, name, value)
        values = self._values(reported[-1]) if outcome == "complete" else None
        self._storage.set_trial_state_values(trial, _STATES[outcome], values)

    def _values(self, last: Reported) -> list[float]:
        if self._objective == LOSS:
            return [last.report.val_loss]
        if self._objective == ACCURACY:
            return [objective_of(last.report)]
        return [objective_of(last.report), float(last.size.activated)]


def _attributes(reported: Sequence[Reported]) -> Mapping[str, Json]:
    if not reported:
        return {}
    size = reported[-1].size
    return {
        "reports": {str(each.report.step): _shown(each.report) for each in reported},
        "activated": size.activated,
        "trainable": size.trainable,
    }


def _shown(report: Report) -> Json:
    found: dict[str, Json] = {"val_loss": report.val_loss}
    return {**found, "accuracy": report.accuracy} if report.scored else found
