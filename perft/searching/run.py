"""Runs a search: worker groups beside Ray Tune, from the first trial to the Pareto front.

A search depends on its seed alone. Resuming runs it again: what was trained before is answered from
the trials' saved states, and the rest is trained.
"""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import optuna

from perft.compat.ray import library_unchanged
from perft.errors import PerftError
from perft.packing.machines import require_compilers, require_shared
from perft.packing.messages import Scored
from perft.process import unchanged
from perft.search_folder import SCORES_FILE, SEARCH_FILE
from perft.searching.cluster import Cluster, end_ray, find_cluster, start_ray
from perft.searching.conclude import conclude, conclude_failed
from perft.searching.concluded import has_nothing_left
from perft.searching.drawing import import_drawing, keep_fonts_at_home
from perft.searching.interrupt import interrupted
from perft.searching.ledger import Ledger
from perft.searching.listeners import Listener
from perft.searching.lock import locked
from perft.searching.prepare import SearchPlan
from perft.searching.restart import Restart
from perft.searching.shape import shape_on
from perft.searching.stages import Stages
from perft.searching.steering.event_log import send
from perft.searching.sync import sync, tracking_of
from perft.searching.trials import run_trials
from perft.selection import read_all_scores, read_base, read_results
from perft.tracking import Recorder, is_sent, tracker_of
from perft.trial import TrialResult


@dataclass(frozen=True)
class Finished:
    """A search that ran to its end.

    Attributes:
        results: all trials, by number.
        scored: test scores of the chosen trials, and the score of the base alone.
        tracking_uri: where the tracker shows the runs.
    """

    results: list[TrialResult]
    scored: Scored
    tracking_uri: str


def run_search(
    plan: SearchPlan,
    stages: Stages,
    resume_command: Sequence[str] = (),
    listeners: Sequence[Listener] = (),
) -> Finished:
    """Runs a prepared search to its end.

    Environment, signal handlers and loggers of the process are restored afterwards
    (`perft.process`). A Ray that it was connected to before is used, and stays.

    Args:
        plan: from `prepare` or `prepare_resume`.
        stages: shows the user what the search does.
        resume_command: program and arguments that resume the search; they replace this process if
            the search's own Ray dies. Without them the process ends with its Ray.
        listeners: hear of trials as they report and end.

    Raises:
        SearchError: if another process runs it, no Ray starts or answers, the cluster is too small,
            its machines share no storage, or no worker group can work.
        InterruptedSearchError: if a `KeyboardInterrupt` stops it.
        StorageError: if storage or tracking cannot be written.
    """
    with library_unchanged(), unchanged():
        if plan.resume and not plan.commands and has_nothing_left(plan.search, plan.settings):
            return _finished_before(plan, stages)
        restart = Restart(
            command=resume_command,
            name=plan.settings.name,
            search=plan.search,
            environment=dict(os.environ),
            tell=stages.say,
            leave=stages.leave,
        )
        restart.clear()
        with locked(plan.search, plan.settings.name, stages.say):
            for command in plan.commands:
                send(plan.search, command)
            try:
                with stages.during("looking for a Ray cluster"):
                    cluster = find_cluster()
                stages.say(cluster.why)
                with _ray_and_recorder(plan, cluster, stages) as recorder:
                    return _run(plan, cluster, recorder, stages, restart, listeners=listeners)
            except KeyboardInterrupt as error:
                raise interrupted(plan.search, plan.settings) from error


def _run(
    plan: SearchPlan,
    cluster: Cluster,
    recorder: Recorder,
    stages: Stages,
    restart: Restart,
    *,
    listeners: Sequence[Listener],
) -> Finished:
    """Runs the search on the connected Ray; closes its runs whatever ends it."""
    ledger = _ledger(plan, recorder)
    try:
        shape, nodes = shape_on(plan, stages, joined=not cluster.is_own)
        plan.settings.budget.require_gpus(shape.total_gpus)
        settings = dataclasses.replace(
            plan.settings, groups=shape.groups, slots=shape.slots, gpus_per_worker=shape.gpus
        )
        settings.write(plan.search)
        with stages.during("asking the machines of the cluster whether they have what it takes"):
            require_shared(plan.search, SEARCH_FILE, nodes, gpus=shape.use_gpu)
            if settings.compile:
                require_compilers(nodes, gpus=shape.use_gpu)
        recorder.log_params(settings.to_json(), plan.datasets)
        plan.search.sweep()
        plan.search.delete(SCORES_FILE)  # a search that has it is finished
        search = plan.search.anchored(SEARCH_FILE)
        plan = dataclasses.replace(plan, settings=settings, search=search)
        with restart.when_ray_dies(lambda: ledger.reports):
            scored = run_trials(plan, shape, ledger, stages, listeners)
        with stages.during("ending Ray, and drawing the front"):
            conclude(plan, ledger, recorder, scored, lambda: end_ray(cluster))
    except BaseException as error:
        with contextlib.suppress(PerftError):  # the user must see the first error
            conclude_failed(plan, ledger, recorder, error)
        raise
    with stages.during(f"sending the last records to {tracker_of(settings.tracker).title}"):
        recorder.close()
    ledger.complete_runs()
    return Finished(ledger.results(), scored, settings.tracking_uri)


@contextlib.contextmanager
def _ray_and_recorder(plan: SearchPlan, cluster: Cluster, stages: Stages) -> Iterator[Recorder]:
    """Connects to Ray; slow imports and the recorder's opening run while it starts."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    keep_fonts_at_home()
    pool = ThreadPoolExecutor(max_workers=1)  # imports in two threads may block each other
    opening = pool.submit(_open_recorder, plan, stages.say)
    pool.submit(import_drawing)
    pool.shutdown(wait=False)  # a cluster that is up need not wait for plotting imports
    try:
        start_ray(cluster, stages.say)
    except BaseException as error:
        with contextlib.suppress(PerftError):
            recorder = opening.result()
            conclude_failed(plan, _ledger(plan, recorder), recorder, error)
        raise
    try:
        title = tracker_of(plan.settings.tracker).title
        with stages.during(f"opening the records in {title}"):
            recorder = opening.result()
        yield recorder
    finally:
        with stages.during("ending Ray"):
            end_ray(cluster)


def _open_recorder(plan: SearchPlan, tell: Callable[[str], None]) -> Recorder:
    begin = Recorder.resume if plan.resume else Recorder.start
    tracker = tracker_of(plan.settings.tracker)
    return begin(tracking_of(plan.search, plan.settings, tracker, plan.tracking_uri, tell))


def _ledger(plan: SearchPlan, recorder: Recorder) -> Ledger:
    return Ledger(plan.search.anchored(SEARCH_FILE), recorder)


def _finished_before(plan: SearchPlan, stages: Stages) -> Finished:
    """The result of a search that was finished before; sends its tracker the missing records."""
    settings, tracker = plan.settings, tracker_of(plan.settings.tracker)
    stages.say(f"search {settings.name} ran to its end before")
    if not is_sent(plan.search):
        try:
            with stages.during(f"sending to {tracker.title} what it lacks of the search"):
                sync(plan.search, settings, tracker, plan.tracking_uri, stages.say)
        except PerftError as error:  # the search is finished anyway
            stages.say(f"its runs in {tracker.title} are not complete: {error}")
    scored = Scored(trials=read_all_scores(plan.search), base=read_base(plan.search))
    return Finished(read_results(plan.search), scored, settings.tracking_uri)
