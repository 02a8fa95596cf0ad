"""Runs a search: worker groups beside Ray Tune, from the first trial to the Pareto front.

A search follows from its seed alone. To resume one is to run it again: what was trained before is
answered from the trials' saved states, and the rest is trained.
"""

import contextlib
import dataclasses
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
import ray
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console

from perft.errors import PerftError, SearchError
from perft.packing.groups import WorkerGroups, fit_to_cluster
from perft.search.follow import Follow
from perft.search.ledger import Ledger
from perft.search.prepare import Prepared, task_source
from perft.search.proposer import METRIC, STEP, Proposer
from perft.search.thin_trial import ThinTrial
from perft.search.view import View
from perft.selection import best, knee, pareto_front, result_files, write_scores
from perft.storage import Storage
from perft.tracking import Tracker, environment
from perft.trial import TrialResult

REDUCTION_FACTOR = 2
"""ASHA keeps one in this many trials at each rung."""

THIN_TRIAL_FAILURES = 2
"""How often the process of a thin trial may die before its trial fails."""

THIN_TRIAL_RESOURCES = {"cpu": 0, "memory": 1_000_000}
"""No CPU: the worker groups have them all. Ray wants something in a request."""

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
"""Threads that wait for each other sleep. By default they spin, which on cores that are shared
with Ray's own processes, or with anything else, made training some ten times slower."""

TUNE_FOLDER, OPTUNA_FILE = "tune", "optuna.journal"


@dataclass(frozen=True)
class Finished:
    """A search that ran to its end.

    Attributes:
        results: all trials, by number.
        scores: test scores of the chosen trials, by number.
        tracking_uri: where the runs are.
    """

    results: list[TrialResult]
    scores: Mapping[int, Mapping[str, tuple[int, int]]]
    tracking_uri: str


def run_search(prepared: Prepared, console: Console) -> Finished:
    """Runs a prepared search to its end.

    Args:
        prepared: what `prepare` or `prepare_resume` gave.
        console: where the user watches.

    Raises:
        SearchError: if the cluster is too small, or no worker group can work.
        StorageError: if storage or tracking cannot be written.
    """
    settings, search = prepared.settings, prepared.search
    tracker = Tracker.open(
        settings.tracking_uri,
        settings.name,
        storage=search.place,
        resume=prepared.resume,
        params=settings.to_json(),
        tags={"perft.space": settings.space, "perft.base": settings.base_model or "embedded"},
    )
    settings.write(search)
    ledger = Ledger(search, tracker, settings.max_steps)
    try:
        scores = _on_cluster(prepared, ledger, console)
    except BaseException:
        with contextlib.suppress(PerftError):  # what went wrong first is what the user must see
            _close(prepared, ledger.results(), tracker, failed=True)
        raise
    _close(prepared, ledger.results(), tracker, failed=False)
    return Finished(ledger.results(), scores, settings.tracking_uri)


def _on_cluster(
    prepared: Prepared, ledger: Ledger, console: Console
) -> dict[int, dict[str, tuple[int, int]]]:
    settings = prepared.settings
    _quiet()
    ray.init(
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        runtime_env={"env_vars": WORKER_ENVIRONMENT},
    )
    try:
        shape = fit_to_cluster(
            settings.groups, settings.workers_per_group, settings.slots, ray.cluster_resources()
        )
        groups = WorkerGroups(
            shape,
            settings.num_trials,
            settings.rungs,
            {
                "base_model": settings.base_model,
                "dtype": settings.dtype,
                "task": dataclasses.asdict(task_source(settings)),
                "storage": prepared.search.place,
            },
        )
        try:
            view = View(
                console,
                settings.num_trials,
                settings.max_steps,
                ledger.entries,
                lambda: ray.get(groups.meeting.status.remote())["steps"],
            )
            with view.running():
                view.stage(f"starting {shape.groups} worker group(s) of {shape.workers}")
                _tune(prepared, groups, ledger, view)
                fatal = ray.get(groups.meeting.status.remote())["fatal"]
                if fatal:
                    raise SearchError(fatal)
                return _score(prepared.search, groups, ledger.results(), view)
        finally:
            groups.stop()
    finally:
        ray.shutdown()


def _tune(prepared: Prepared, groups: WorkerGroups, ledger: Ledger, view: View) -> None:
    settings = prepared.settings
    prepared.search.delete(TUNE_FOLDER)
    tuner = tune.Tuner(
        tune.with_resources(ThinTrial, THIN_TRIAL_RESOURCES),
        tune_config=tune.TuneConfig(
            search_alg=_proposer(prepared, groups),
            scheduler=ASHAScheduler(
                time_attr=STEP,
                metric=METRIC,
                mode="min",
                max_t=settings.max_steps,
                grace_period=settings.rungs[0],
                reduction_factor=REDUCTION_FACTOR,
            ),
            num_samples=settings.num_trials,
            max_concurrent_trials=min(settings.groups * settings.slots, settings.num_trials),
            reuse_actors=True,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=prepared.search.place,
            failure_config=tune.FailureConfig(max_failures=THIN_TRIAL_FAILURES),
            callbacks=[Follow(ledger, view, groups.meeting)],
            verbose=0,
        ),
    )
    tuner.fit()


def _proposer(prepared: Prepared, groups: WorkerGroups) -> Proposer:
    settings = prepared.settings
    return Proposer(
        prepared.draw,
        {"meeting": groups.name, "namespace": groups.namespace},
        settings.max_steps,
        sampler=optuna.samplers.TPESampler(seed=settings.seed),
        storage=_optuna_storage(prepared.search),
        study_name=settings.name,
    )


def _optuna_storage(search: Storage) -> BaseStorage | None:
    """A journal file beside the search's other files; in memory when those are remote."""
    if "://" in search.place:
        return None
    search.delete(OPTUNA_FILE)
    return JournalStorage(JournalFileBackend(str(Path(search.place) / OPTUNA_FILE)))


def _score(
    search: Storage, groups: WorkerGroups, results: list[TrialResult], view: View
) -> dict[int, dict[str, tuple[int, int]]]:
    """Scores the best trial and the knee of the front on the test splits, once."""
    front = pareto_front(results)
    if not front:
        return {}
    chosen = sorted({best(front).number, knee(front).number})
    view.stage(f"scoring trials {', '.join(map(str, chosen))} on the test splits")
    scores: dict[int, dict[str, tuple[int, int]]] = ray.get(groups.meeting.score.remote(chosen))
    write_scores(search, scores)
    return scores


def _close(prepared: Prepared, results: list[TrialResult], tracker: Tracker, failed: bool) -> None:
    settings = prepared.settings
    front = {trial.number for trial in pareto_front(results)}
    source = Path(__file__).parents[2] / "search_spaces" / f"{settings.space}.py"
    files = {"environment.txt": environment().encode()}
    if source.is_file():
        files["space.py"] = source.read_bytes()
    if any(result.outcome == "complete" for result in results):
        files |= result_files(results, f"{settings.name}: {settings.task}")
    for name, data in files.items():
        prepared.search.write(name, data)
    tracker.finish(front=front, files=files, failed=failed or not front)


def _trial_name(trial: tune.experiment.Trial) -> str:
    return f"trial-{trial.config['number']:04d}"


def _quiet() -> None:
    """Ray and Optuna talk a lot; what a user needs is in the view."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "0")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
