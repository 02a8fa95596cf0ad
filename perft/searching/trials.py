"""Runs the trials of a search on its worker groups, then scores the chosen ones."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVarTuple

import ray

from perft.config import FurtherMeasures
from perft.errors import SearchError
from perft.packing.deaths import DEATHS
from perft.packing.groups import WorkerGroups
from perft.packing.messages import Scored, ToScore
from perft.packing.settings import WorkSettings
from perft.packing.shape import GroupShape
from perft.searching.announce import announce
from perft.searching.concluded import known_base
from perft.searching.ledger import Ledger
from perft.searching.listeners import Listener, Listeners
from perft.searching.prepare import SearchPlan
from perft.searching.stages import Stages
from perft.searching.steering.eta import Pace
from perft.searching.steering.event_log import EventLog
from perft.searching.steering.interventions import Interventions
from perft.searching.steering.outlook import Outlook
from perft.searching.steering.stopwatch import Stopwatch
from perft.searching.tune.tune_callback import TuneCallback
from perft.searching.tune.tuning import agenda_of, tune_trials
from perft.searching.view import View
from perft.selection import picked_of

TALKING_SECONDS = 30.0
"""Time for the threads that show the groups' status to end; they do when the coordinator does."""

COORDINATORS_WITHOUT_PROGRESS = 4
"""Coordinators that may die, with no new report between them, before a search gives up."""

About = TypeVarTuple("About")


def run_trials(
    plan: SearchPlan,
    shape: GroupShape,
    ledger: Ledger,
    stages: Stages,
    listeners: Sequence[Listener] = (),
) -> Scored:
    """Runs all trials; starts again from the saved states when the coordinator has died."""
    most, left = 0, COORDINATORS_WITHOUT_PROGRESS
    while True:
        try:
            return _search(plan, shape, ledger, stages, listeners)
        except _CoordinatorLostError:
            left = left - 1 if ledger.reports <= most else COORDINATORS_WITHOUT_PROGRESS - 1
            if not left:
                raise
            most = max(most, ledger.reports)
            stages.say("the coordinator died; the search resumes from what is saved")
            ledger.entries.clear()  # every trial is reported again


class _CoordinatorLostError(SearchError):
    """The coordinator and its state are lost."""


def _search(
    plan: SearchPlan,
    shape: GroupShape,
    ledger: Ledger,
    stages: Stages,
    listeners: Sequence[Listener],
) -> Scored:
    settings = plan.settings
    with (
        contextlib.ExitStack() as talking,
        _worker_groups(plan, shape, stages) as groups,
    ):
        agenda = agenda_of(plan)  # takes seconds, in which the groups start
        groups.coordinator.expect(agenda.num_trials)
        stopwatch = Stopwatch(plan.search, shape.total_gpus)
        outlook = Outlook(
            settings.rungs,
            agenda,
            ledger.entries,
            groups.steps,
            stopwatch=stopwatch,
            pace=Pace(shape.trials_at_once),
            budget=settings.budget,
        )
        view = View(
            stages,
            agenda,
            settings.max_steps,
            ledger.entries,
            title=f"search {settings.name}",
            steps=groups.steps,
            outlook=outlook,
        )
        log = EventLog(plan.search, ledger.recorded_reports, view.note)
        interventions = Interventions(log, agenda, outlook, view.note)
        with view.running():
            compiles = settings.compile or (settings.compile is None and shape.use_gpu)
            talking.enter_context(_in_thread(announce, groups, view, compiles))
            talking.enter_context(_in_thread(_relay_notes, groups, view))
            callback = TuneCallback(
                ledger,
                Listeners([view, *listeners]),
                groups.coordinator,
                agenda,
                interventions=interventions,
                trials_at_once=shape.trials_at_once,
            )
            try:
                tune_trials(plan, groups, agenda, callback, interventions.stops)
                scored = _scored(plan, groups, ledger, view)
                stopwatch.keep(now=True)
                if fatal := groups.coordinator.status().fatal:
                    raise SearchError(fatal)
                return scored
            except KeyboardInterrupt:
                ledger.stopped()  # first: `ray job stop` kills a job some seconds later
                raise
            except (SearchError, *DEATHS) as error:
                if groups.are_lost:
                    raise _CoordinatorLostError(str(error)) from error
                raise


@contextlib.contextmanager
def _in_thread(say: Callable[[*About], None], *about: *About) -> Iterator[None]:
    """Inside, runs `say` in a thread, which ends with the coordinator.

    Waits for the thread: Ray ends a process in which a thread calls it after its shutdown.
    """
    thread = threading.Thread(target=say, args=about, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(TALKING_SECONDS)


def _relay_notes(groups: WorkerGroups, view: View) -> None:
    """Shows the worker groups' notes until they end."""
    seen = 0
    with contextlib.suppress(ray.exceptions.RayError):
        while notes := groups.coordinator.notes_after(seen):
            seen += len(notes)
            for text in notes:
                view.note(text)


@contextlib.contextmanager
def _worker_groups(plan: SearchPlan, shape: GroupShape, stages: Stages) -> Iterator[WorkerGroups]:
    settings = plan.settings
    groups = WorkerGroups(
        shape,
        settings.most_trials,
        settings.rungs,
        WorkSettings(
            base_model=settings.base_model,
            dtype=settings.dtype,
            experts=settings.experts,
            quantize=settings.quantize,
            checkpointing=settings.checkpointing,
            compile=settings.compile,
            slots=shape.slots,
            rung_accuracy=settings.rung_accuracy,
            further=FurtherMeasures(
                other_texts=settings.other_texts, routers=settings.router_measures
            ),
            task=plan.source,
            storage=plan.search.uri,
        ),
    )
    try:
        yield groups
    finally:
        with stages.during("ending the worker groups"):
            groups.stop()


def _scored(plan: SearchPlan, groups: WorkerGroups, ledger: Ledger, view: View) -> Scored:
    """Scores the best trial, the knee and, unless that is known, the base, once."""
    picked = picked_of(ledger.results())
    if picked is None:
        return Scored()
    view.stage("scoring the best trial and the knee of the front on the test splits, and the base")
    training = picked.best.config.training
    known = known_base(plan.search, training.objective)
    wanted = ToScore(
        trials=tuple(sorted({picked.best.number, picked.knee.number})),
        base=training if known is None else None,
    )
    scored = groups.coordinator.score(wanted)
    return dataclasses.replace(scored, base=scored.base or known)
