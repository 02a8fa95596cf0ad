"""Runs a search: worker groups beside Ray Tune, from the first trial to the Pareto front.

A search follows from its seed alone. To resume one is to run it again: what was trained before is
answered from the trials' saved states, and the rest is trained.
"""

import contextlib
import dataclasses
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
import ray
from rich.console import Console

from perft.errors import PerftError, SearchError
from perft.packing.groups import SLOTS_ON_A_GPU, GroupShape, WorkerGroups, fit_to_cluster
from perft.packing.machines import Node, gpu_memory, require_shared
from perft.search.cluster import start_ray
from perft.search.conclude import Scores, conclude, conclude_failed, import_drawing
from perft.search.follow import Follow
from perft.search.ledger import Ledger
from perft.search.prepare import Prepared, task_source
from perft.search.settings import FILE
from perft.search.tuning import tune_trials
from perft.search.view import View
from perft.selection import best, is_concluded, knee, pareto_front, read_all_scores, read_results
from perft.trial import TrialResult

if TYPE_CHECKING:
    from perft.tracking import Tracker

PATIENCE_SECONDS = 60.0
"""Time for the worker groups to start; then the user hears that they may be waiting for room."""

MEETING_POINTS = 4
"""Meeting points that a search may use up before it gives up."""


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
        SearchError: if the cluster is too small, its machines share no storage, or no worker group
            can work.
        StorageError: if storage or tracking cannot be written.
    """
    if prepared.resume and is_concluded(prepared.search):
        console.print(f"search {prepared.settings.name} ran to its end before", highlight=False)
        return Finished(
            read_results(prepared.search),
            read_all_scores(prepared.search),
            prepared.settings.tracking_uri,
        )
    with _ray_and_tracker(prepared) as tracker:
        ledger = Ledger(prepared.search, tracker, prepared.settings.max_steps)
        try:
            nodes = [node for node in ray.nodes() if node["Alive"]]
            shape = _shape(prepared, nodes)
            settings = dataclasses.replace(
                prepared.settings, groups=shape.groups, slots=shape.slots
            )
            settings.write(prepared.search)
            require_shared(prepared.search, FILE, nodes)
            tracker.log_params(settings.to_json())
            prepared = dataclasses.replace(prepared, settings=settings)
            scores = _search_on(prepared, shape, ledger, console)
            conclude(prepared, ledger.results(), tracker, scores)
        except BaseException:
            with contextlib.suppress(PerftError):  # what went wrong first must be seen
                conclude_failed(prepared, ledger.results(), tracker)
            raise
    return Finished(ledger.results(), scores, settings.tracking_uri)


@contextlib.contextmanager
def _ray_and_tracker(prepared: Prepared) -> Iterator["Tracker"]:
    """Starts Ray; what takes long to import or to open is done while its processes come up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    pool = ThreadPoolExecutor(max_workers=1)  # imports in two of its threads may block each other
    opening = pool.submit(_open_tracker, prepared)
    pool.submit(import_drawing)
    pool.shutdown(wait=False)  # a cluster that is up is not kept waiting for what draws
    start_ray()
    try:
        yield opening.result()
    finally:
        ray.shutdown()


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


def _shape(prepared: Prepared, nodes: Sequence[Node]) -> GroupShape:
    """How the worker groups lie on the machines of the cluster, which is up."""
    settings = prepared.settings
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
        experts=settings.experts,
        checkpointing=settings.checkpointing,
    )
    slots = slots_in(memory, space, settings.base_model, load)
    return SLOTS_ON_A_GPU if slots is None else min(SLOTS_ON_A_GPU, slots)


def _search_on(prepared: Prepared, shape: GroupShape, ledger: Ledger, console: Console) -> Scores:
    """Searches, and goes on from what is saved when the meeting point has died."""
    for _ in range(MEETING_POINTS - 1):
        try:
            return _search(prepared, shape, ledger, console)
        except _MeetingLostError:
            console.print("the meeting point died; the search goes on from what is saved")
            ledger.entries.clear()  # everything is told once more
    return _search(prepared, shape, ledger, console)


class _MeetingLostError(SearchError):
    """The meeting point has died, and with it what it knew."""


def _search(prepared: Prepared, shape: GroupShape, ledger: Ledger, console: Console) -> Scores:
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
            return _scores(groups, ledger, view)


def _announce(groups: WorkerGroups, view: View) -> None:
    """Says when the bases are loaded, and what is waited for if that takes long.

    Ends with the meeting point, if that is sooner.
    """
    with contextlib.suppress(ray.exceptions.RayError):
        ready = groups.meeting.all_ready.remote()
        if not ray.wait([ready], timeout=PATIENCE_SECONDS)[0]:
            started, shape = ray.get(groups.meeting.status.remote())["started"], groups.shape
            if started < shape.groups:
                view.stage(
                    f"{started} of {shape.groups} worker groups have found room on the cluster"
                    f"{', and train for all' if started else ''}; each needs {shape.needs}"
                )
        ray.get(ready)
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
            "experts": settings.experts,
            "checkpointing": settings.checkpointing,
            "rung_accuracy": settings.rung_accuracy,
            "task": dataclasses.asdict(task_source(settings)),
            "storage": prepared.search.place,
        },
    )
    try:
        yield groups
    finally:
        groups.stop()


def _scores(groups: WorkerGroups, ledger: Ledger, view: View) -> Scores:
    """Scores the best trial and the knee on the test splits, once."""
    front = pareto_front(ledger.results())
    if not front:
        return {}
    view.stage("scoring the best trial and the knee of the front on the test splits")
    chosen = sorted({best(front).number, knee(front).number})
    scores: Scores = ray.get(groups.meeting.score.remote(chosen))
    return scores
