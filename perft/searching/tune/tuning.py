"""Ray Tune's part of a search: thin trials, proposed by a sampler and stopped by a pruner."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import ray
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.logger import JsonLoggerCallback

from perft.compat.ray_tune import kept_from_trials
from perft.errors import SearchError, StorageError
from perft.failures import useful_line
from perft.packing.groups import WorkerGroups
from perft.packing.ray_folder import ray_folder
from perft.search_folder import OPTUNA_FILE, SEARCH_FILE, TUNE_FOLDER, tune_trial
from perft.searching.agenda import Agenda
from perft.searching.prepare import SearchPlan
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.sampling.proposals import study_of
from perft.searching.tune.proposer import Proposer
from perft.searching.tune.rung_scheduler import RungScheduler
from perft.searching.tune.thin_trial import ThinTrial
from perft.searching.tune.tune_callback import TuneCallback
from perft.searching.tune.tune_dicts import NUMBER, STEP
from perft.storage import Storage, free_space_in

THIN_TRIAL_FAILURES = 2
"""How often the process of a thin trial may die before its trial fails."""

THIN_TRIAL_RESOURCES = {"cpu": 0, "memory": 1_000_000}
"""No CPU: the worker groups have them all. Ray wants something in a request."""


def tune_trials(
    plan: SearchPlan,
    groups: WorkerGroups,
    agenda: Agenda,
    callback: TuneCallback,
    must_stop: Callable[[int], bool],
) -> None:
    """Runs all trials of a search, from its first; returns when the last has ended.

    Raises:
        SearchError: if Ray or the search fails, or the trials' records cannot be written.
    """
    settings = plan.settings
    pruner = PRUNERS[settings.pruner](settings.rungs, settings.objective)
    plan.search.delete(TUNE_FOLDER)
    tuner = tune.Tuner(
        tune.with_resources(ThinTrial, THIN_TRIAL_RESOURCES),
        tune_config=tune.TuneConfig(
            search_alg=Proposer(agenda, groups.name, groups.namespace, callback.proposed),
            scheduler=RungScheduler(pruner, must_stop),
            num_samples=-1,  # the agenda says when it is over
            max_concurrent_trials=groups.shape.trials_at_once,
            reuse_actors=True,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=str(ray_folder(plan.search)),
            failure_config=tune.FailureConfig(max_failures=THIN_TRIAL_FAILURES),
            callbacks=[callback, JsonLoggerCallback()],
            stop=_Ending(callback),
            progress_reporter=_NoReporter(),  # in a notebook Tune's own clears the cell's output
            verbose=0,
        ),
    )
    # The view shows which trial failed; the trial's folder has the traceback.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    name = settings.name
    try:
        with kept_from_trials("AWS_"):
            tuner.fit()
    except (OSError, ray.exceptions.RayError, tune.TuneError) as error:
        if reason := _fault_of_storage(plan.search, error):
            raise _stopped(plan, reason) from error
        raise SearchError(
            f"Ray broke off search {name!r} ({type(error).__name__}: {useful_line(error)}); resume "
            f"it by: {plan.settings.resume_by(plan.root)}"
        ) from error
    if callback.failure is not None:
        raise _stopped(plan, str(callback.failure)) from callback.failure


class _NoReporter(tune.ProgressReporter):  # type: ignore[misc]
    """Shows nothing: the view does."""

    def should_report(self, trials: list[tune.experiment.Trial], done: bool = False) -> bool:
        """False."""
        return False


class _Ending(tune.Stopper):  # type: ignore[misc]
    """Makes Tune stop all trials when the search must end."""

    def __init__(self, callback: TuneCallback) -> None:
        self._callback = callback

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """False: the scheduler stops single trials. Tune calls this first with every result."""
        self._callback.before_result(trial_id, result[STEP])
        return False

    def stop_all(self) -> bool:
        """Whether the search must end."""
        return self._callback.is_over()


def _fault_of_storage(search: Storage, error: Exception) -> str:
    """What is wrong with the search's folder, where Ray and Optuna write too; empty if nothing."""
    with contextlib.suppress(StorageError):
        if not search.exists(SEARCH_FILE):
            return f"{search.shown}/{SEARCH_FILE} is gone, so it was deleted or moved meanwhile"
    full = os.strerror(errno.ENOSPC)
    if search.folder is not None and full in str(error):
        return f"cannot write to {search.shown}: {full} ({free_space_in(search.folder)})"
    return useful_line(error) if isinstance(error, OSError) else ""


def _stopped(plan: SearchPlan, reason: str) -> SearchError:
    name = plan.settings.name
    resume_by = plan.settings.resume_by(plan.root)
    return SearchError(f"search {name!r} has stopped: {reason}; resume it by: {resume_by}")


def agenda_of(plan: SearchPlan) -> Agenda:
    """The agenda of a search that begins, with a new Optuna study."""
    settings = plan.settings
    return Agenda(
        study_of(plan, _optuna_storage(plan.search)),
        num_trials=settings.most_trials,
        max_steps=settings.max_steps,
        max_steps_total=settings.budget.max_steps_total,
        second_chances=settings.second_chances,
        confirmations=settings.confirmations,
    )


def _optuna_storage(search: Storage) -> BaseStorage | None:
    """A journal file in the search's folder; None, for memory, when that is remote."""
    if search.folder is None:
        return None
    search.delete(OPTUNA_FILE)
    return JournalStorage(JournalFileBackend(str(search.folder / OPTUNA_FILE)))


def _trial_name(trial: tune.experiment.Trial) -> str:
    return tune_trial(trial.config[NUMBER])
