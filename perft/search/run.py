"""Runs a search: worker groups beside Ray Tune, from the first trial to the Pareto front.

A search follows from its seed alone. To resume one is to run it again: what was trained before is
answered from the trials' saved states, and the rest is trained.
"""

import contextlib
import dataclasses
import importlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import ray
from rich.console import Console

from perft.errors import PerftError, SearchError
from perft.packing.devices import gpu_memory
from perft.packing.groups import SLOTS_ON_A_GPU, GroupShape, WorkerGroups, fit_to_cluster
from perft.packing.places import PREDICTIONS, trial_folder
from perft.search.follow import Follow
from perft.search.ledger import Ledger
from perft.search.prepare import Prepared, task_source
from perft.search.tuning import tune_trials
from perft.search.view import View
from perft.selection import best, knee, pareto_front, write_scores
from perft.trial import TrialResult

if TYPE_CHECKING:
    from perft.tracking import Tracker

WORKER_ENVIRONMENT = {
    # How long a thread spins for the others before it sleeps. libgomp's default is thirty times
    # that: on cores shared with Ray's processes, or with anything else, training became some ten
    # times slower. Not spinning at all costs 1.4 times on idle cores.
    "GOMP_SPINCOUNT": "10000",
    # Memory that one step frees, glibc keeps for the next: 7% of a step on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    # Trials are persisted at every report: there is nothing to do when a machine is about to go.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Seconds after which Ray Train sees that a group has ended, or has lost a worker.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""Environment of the processes on the cluster."""

THIN_TRIALS_AT_ONCE = 8
"""Processes that a local Ray may start at the same time."""

MEETING_POINTS = 4
"""Meeting points that a search may use up before it gives up."""

Scores = Mapping[int, Mapping[str, tuple[int, int]]]
"""Correct and scored examples by trial and test split."""


@dataclass(frozen=True)
class Finished:
    """A search that ran to its end.

    Attributes:
        results: all trials, by number.
        scores: test scores of the chosen trials.
        tracking_uri: where the runs are.
    """

    results: list[TrialResult]
    scores: Scores
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
    with _ray_and_tracker(prepared) as tracker:
        ledger = Ledger(prepared.search, tracker, prepared.settings.max_steps)
        try:
            shape = _shape(prepared)
            settings = dataclasses.replace(
                prepared.settings, groups=shape.groups, slots=shape.slots
            )
            settings.write(prepared.search)
            tracker.log_params(settings.to_json())
            prepared = dataclasses.replace(prepared, settings=settings)
            scores = _search_on(prepared, shape, ledger, tracker, console)
        except BaseException:
            with contextlib.suppress(PerftError):  # what went wrong first must be seen
                files = _files(prepared, ledger.results())
                tracker.finish(front=_front(ledger), files=files, failed=True)
            raise
    return Finished(ledger.results(), scores, settings.tracking_uri)


@contextlib.contextmanager
def _ray_and_tracker(prepared: Prepared) -> Iterator["Tracker"]:
    """Starts Ray; what takes long to import or to open is done while its processes come up."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Thin trials need no core, so that many may start at once; by default Ray warns of it.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(THIN_TRIALS_AT_ONCE))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with ThreadPoolExecutor() as pool:
        opening = pool.submit(_open_tracker, prepared)
        _start_ray()
    try:
        yield opening.result()
    finally:
        ray.shutdown()


def _start_ray() -> None:
    """Joins the cluster that there is, or starts one on this machine."""
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init("auto", runtime_env={"env_vars": WORKER_ENVIRONMENT}, **options)
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:  # who names a cluster does not want another
            raise
        # Its processes inherit these, and need no environment of their own that takes a second.
        os.environ.update(WORKER_ENVIRONMENT)
        ray.init("local", **options)


def _open_tracker(prepared: Prepared) -> "Tracker":
    from perft.tracking import Tracker  # noqa: PLC0415 - MLflow is slow to import

    settings = prepared.settings
    return Tracker.open(
        settings.tracking_uri,
        settings.name,
        storage=prepared.search.place,
        resume=prepared.resume,
        params=settings.to_json(),
        tags={"perft.space": settings.space, "perft.base": settings.base_model or "embedded"},
    )


def _shape(prepared: Prepared) -> GroupShape:
    """How the worker groups lie on the cluster, which is up."""
    settings = prepared.settings
    nodes = [node for node in ray.nodes() if node["Alive"]]
    slots = settings.slots
    if slots is None and any(node["Resources"].get("GPU", 0) >= 1 for node in nodes):
        slots = _slots_on_gpus(prepared, gpu_memory(nodes))
    resources = [node["Resources"] for node in nodes]
    return fit_to_cluster(
        settings.groups, settings.workers_per_group, slots, resources, settings.num_trials
    )


def _slots_on_gpus(prepared: Prepared, memory: int) -> int:
    """As many trials as a GPU of so many bytes holds, and no more than are useful at a time."""
    from perft.search.fit import slots_in, step_load  # noqa: PLC0415 - imports torch

    settings, space = prepared.settings, prepared.draw.space
    load = step_load(
        space,
        settings.base_model,
        workers=settings.workers_per_group,
        dtype=settings.dtype,
        checkpointing=settings.checkpointing,
    )
    slots = slots_in(memory, space, settings.base_model, load)
    return SLOTS_ON_A_GPU if slots is None else min(SLOTS_ON_A_GPU, slots)


def _search_on(
    prepared: Prepared, shape: GroupShape, ledger: Ledger, tracker: "Tracker", console: Console
) -> Scores:
    """Searches, and goes on from what is saved when the meeting point has died."""
    for _ in range(MEETING_POINTS - 1):
        try:
            return _search(prepared, shape, ledger, tracker, console)
        except _MeetingLostError:
            console.print("the meeting point died; the search goes on from what is saved")
            ledger.entries.clear()  # everything is told once more
    return _search(prepared, shape, ledger, tracker, console)


class _MeetingLostError(SearchError):
    """The meeting point has died, and with it what it knew."""


def _search(
    prepared: Prepared, shape: GroupShape, ledger: Ledger, tracker: "Tracker", console: Console
) -> Scores:
    settings = prepared.settings
    with _worker_groups(prepared, shape) as groups:
        view = View(
            console,
            settings.num_trials,
            settings.max_steps,
            ledger.entries,
            lambda: ray.get(groups.meeting.status.remote())["steps"],
        )
        with view.running():
            view.stage("starting the worker groups")
            threading.Thread(target=_announce, args=(groups, view), daemon=True).start()
            follow = Follow(ledger, view, groups.meeting, settings.num_trials)
            try:
                tune_trials(prepared, groups, follow)
            except SearchError as error:
                if groups.are_lost:
                    raise _MeetingLostError(str(error)) from error
                raise
            if fatal := ray.get(groups.meeting.status.remote())["fatal"]:
                raise SearchError(fatal)
            ended = len(ledger.results())
            if ended < settings.num_trials:  # Tune takes Ctrl-C as a wish to stop in order
                raise SearchError(
                    f"search {settings.name!r} was interrupted after {ended} of "
                    f"{settings.num_trials} trials; go on with it by --resume {settings.name}"
                )
            return _conclude(prepared, groups, ledger, tracker, view)


def _announce(groups: WorkerGroups, view: View) -> None:
    """Says when the bases are loaded; ends with the meeting point, if that is sooner."""
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(groups.meeting.all_ready.remote())
        view.stage("training")


@contextlib.contextmanager
def _worker_groups(prepared: Prepared, shape: GroupShape) -> Iterator[WorkerGroups]:
    settings = prepared.settings
    groups = WorkerGroups(
        shape,
        settings.num_trials,
        settings.rungs,
        {
            "base_model": settings.base_model,
            "dtype": settings.dtype,
            "checkpointing": settings.checkpointing,
            "task": dataclasses.asdict(task_source(settings)),
            "storage": prepared.search.place,
        },
    )
    try:
        yield groups
    finally:
        groups.stop()


def _conclude(
    prepared: Prepared, groups: WorkerGroups, ledger: Ledger, tracker: "Tracker", view: View
) -> Scores:
    """Scores the best trial and the knee on the test splits, once; meanwhile draws the plots."""
    results = ledger.results()
    front = pareto_front(results)
    chosen = sorted({best(front).number, knee(front).number}) if front else []
    view.stage("scoring the best trial and the knee of the front on the test splits")
    scoring = groups.meeting.score.remote(chosen)
    files = _files(prepared, results)
    scores: Scores = ray.get(scoring) if chosen else {}
    write_scores(prepared.search, scores)
    for number, splits in scores.items():
        folder = prepared.search.child(f"{PREDICTIONS}/{trial_folder(number)}")
        predictions = {name: folder.read(name) for name in folder.names()}
        tracker.log_scores(number, splits, predictions)
    tracker.finish(front=_front(ledger), files=files, failed=not front)
    return scores


def _front(ledger: Ledger) -> set[int]:
    return {trial.number for trial in pareto_front(ledger.results())}


def _files(prepared: Prepared, results: list[TrialResult]) -> dict[str, bytes]:
    """What is kept of a search to look at, in its folder and with its parent run."""
    from perft.selection.files import result_files  # noqa: PLC0415 - plotting is slow to import
    from perft.tracking import environment  # noqa: PLC0415

    settings = prepared.settings
    space = importlib.import_module(prepared.draw.space.suggest.__module__).__file__
    files = {"environment.txt": environment().encode()}
    if space is not None:
        files["space.py"] = Path(space).read_bytes()
    if any(result.outcome == "complete" for result in results):
        files |= result_files(results, f"{settings.name}: {settings.task}")
    for name, data in files.items():
        prepared.search.write(name, data)
    return files
