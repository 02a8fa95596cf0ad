"""Runs a search: worker groups beside Ray Tune, from the first trial to the Pareto front.

A search follows from its seed alone. To resume one is to run it again: what was trained before is
answered from the trials' saved states, and the rest is trained.
"""

import contextlib
import dataclasses
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
import ray
from rich.console import Console

from perft.errors import PerftError, SearchError
from perft.packing.deaths import DEATHS
from perft.packing.groups import (
    STOP_SECONDS,
    GroupShape,
    WorkerGroups,
)
from perft.packing.machines import require_compilers, require_shared
from perft.search.again import Again
from perft.search.cluster import find_cluster, start_ray
from perft.search.conclude import Scores, conclude, conclude_failed, import_drawing
from perft.search.follow import Follow
from perft.search.interrupt import interrupted, interruptible
from perft.search.ledger import Ledger
from perft.search.lock import locked
from perft.search.prepare import Prepared
from perft.search.shape import shape_on
from perft.search.tuning import tune_trials
from perft.search.view import View
from perft.searches import SEARCH_FILE
from perft.selection import best, is_concluded, knee, pareto_front, read_all_scores, read_results
from perft.trial import TrialResult

if TYPE_CHECKING:
    from perft.tracking import Tracker

PATIENCE_SECONDS = 60.0
"""Time for the worker groups to start; then the user hears that they may be waiting for room."""

MEETING_POINTS = 4
"""Meeting points that may die with no new report between before a search gives up."""


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


def run_search(
    prepared: Prepared, console: Console, resume_command: Sequence[str] = ()
) -> Finished:
    """Runs a prepared search to its end.

    Args:
        prepared: what `prepare` or `prepare_resume` gave.
        console: where the user watches.
        resume_command: program and arguments that go on with the search; they take this process's
            place should the search's own Ray die. Without them the process ends with it.

    Raises:
        SearchError: if another process runs it, no Ray can be had, the cluster is too small, its
            machines share no storage, or no worker group can work.
        InterruptedSearchError: if the user stops it.
        StorageError: if storage or tracking cannot be written.
    """
    if prepared.resume and _has_ended(prepared):
        console.print(f"search {prepared.settings.name} ran to its end before", highlight=False)
        return Finished(
            read_results(prepared.search),
            read_all_scores(prepared.search),
            prepared.settings.tracking_uri,
        )
    tell = functools.partial(console.print, highlight=False, soft_wrap=True)
    name = prepared.settings.name
    again = Again(
        command=resume_command,
        name=name,
        search=prepared.search,
        environment=dict(os.environ),
        tell=tell,
    )
    again.clear()
    with interruptible(tell) as take_signals, locked(prepared.search, name):
        cluster = find_cluster()
        tell(cluster.why)

        def start() -> None:
            start_ray(cluster, tell)
            take_signals()

        try:
            with _ray_and_tracker(prepared, start) as tracker:
                return _run(prepared, tracker, console, again)
        except KeyboardInterrupt as error:
            raise interrupted(prepared.search, prepared.settings) from error


def _has_ended(prepared: Prepared) -> bool:
    """Whether all trials have ended and what comes after them is done, too."""
    wanted = prepared.settings.num_trials
    return is_concluded(prepared.search) and len(read_results(prepared.search)) >= wanted


def _run(prepared: Prepared, tracker: "Tracker", console: Console, again: Again) -> Finished:
    """Runs the search on the Ray that is up; whatever ends it, its runs are closed."""
    ledger = Ledger(prepared.search, tracker, prepared.settings.max_steps)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        shape = shape_on(prepared, nodes)
        settings = dataclasses.replace(prepared.settings, groups=shape.groups, slots=shape.slots)
        settings.write(prepared.search)
        require_shared(prepared.search, SEARCH_FILE, nodes)
        if settings.compile:
            require_compilers(nodes)
        tracker.log_params(settings.to_json())
        prepared = dataclasses.replace(prepared, settings=settings)
        with again.when_ray_dies(lambda: ledger.reports):
            scores = _search_on(prepared, shape, ledger, console)
        conclude(prepared, ledger.results(), tracker, scores)
    except BaseException:
        with contextlib.suppress(PerftError):  # what went wrong first must be seen
            conclude_failed(prepared, ledger.results(), tracker)
        raise
    return Finished(ledger.results(), scores, settings.tracking_uri)


@contextlib.contextmanager
def _ray_and_tracker(prepared: Prepared, start: Callable[[], None]) -> Iterator["Tracker"]:
    """Starts Ray; what takes long to import or to open is done while its processes come up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    pool = ThreadPoolExecutor(max_workers=1)  # imports in two of its threads may block each other
    opening = pool.submit(_open_tracker, prepared)
    pool.submit(import_drawing)
    pool.shutdown(wait=False)  # a cluster that is up is not kept waiting for what draws
    try:
        start()
    except BaseException:
        with contextlib.suppress(PerftError):
            conclude_failed(prepared, [], opening.result())
        raise
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


def _search_on(prepared: Prepared, shape: GroupShape, ledger: Ledger, console: Console) -> Scores:
    """Searches, and goes on from what is saved when the meeting point has died."""
    most, left = 0, MEETING_POINTS
    while True:
        try:
            return _search(prepared, shape, ledger, console)
        except _MeetingLostError:
            left = left - 1 if ledger.reports <= most else MEETING_POINTS - 1
            if not left:
                raise
            most = max(most, ledger.reports)
            console.print("the meeting point died; the search goes on from what is saved")
            ledger.entries.clear()  # everything is told once more


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
            compiles = settings.compile or (settings.compile is None and shape.use_gpu)
            for told in ((_announce, (groups, view, compiles)), (_relay_notes, (groups, view))):
                threading.Thread(target=told[0], args=told[1], daemon=True).start()
            follow = Follow(ledger, view, groups.meeting, settings.num_trials)
            try:
                tune_trials(prepared, groups, follow)
                if fatal := ray.get(groups.meeting.status.remote())["fatal"]:
                    raise SearchError(fatal)
                return _scores(groups, ledger, view)
            except (SearchError, *DEATHS) as error:
                if groups.are_lost:
                    raise _MeetingLostError(str(error)) from error
                raise


def _relay_notes(groups: WorkerGroups, view: View) -> None:
    """Says what the worker groups have to say, until they end."""
    seen = 0
    with contextlib.suppress(ray.exceptions.RayError):
        while notes := ray.get(groups.meeting.notes_after.remote(seen)):
            seen += len(notes)
            for text in notes:
                view.note(text)


def _announce(groups: WorkerGroups, view: View, compiles: bool) -> None:
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
        view.stage(f"training{'; the first steps compile the base' if compiles else ''}")


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
            "compile": settings.compile,
            "slots": shape.slots,
            "rung_accuracy": settings.rung_accuracy,
            "task": dataclasses.asdict(prepared.source),
            "storage": prepared.search.place,
        },
    )
    patience = STOP_SECONDS
    try:
        yield groups
    except KeyboardInterrupt:  # who stops a job kills it some seconds later
        patience = 0.0
        raise
    finally:
        groups.stop(patience)


def _scores(groups: WorkerGroups, ledger: Ledger, view: View) -> Scores:
    """Scores the best trial and the knee on the test splits, once."""
    front = pareto_front(ledger.results())
    if not front:
        return {}
    view.stage("scoring the best trial and the knee of the front on the test splits")
    chosen = sorted({best(front).number, knee(front).number})
    scores: Scores = ray.get(groups.meeting.score.remote(chosen))
    return scores
