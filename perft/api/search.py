"""`perft.search`: the search of the command `perft search`, in a notebook or a script."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from perft.api.callbacks import Relay, SearchCallback
from perft.api.results import Results
from perft.errors import CallbackError, ConfigError, InterruptedSearchError, PerftError
from perft.screen import screen
from perft.searching.notebook import NotebookConsole
from perft.searching.objectives import DEFAULT_OBJECTIVE
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.resume import prepare_resume
from perft.searching.run import run_search
from perft.searching.sampling.samplers import DEFAULT_SAMPLER
from perft.searching.space import SearchSpace
from perft.searching.stages import Stages
from perft.searching.steering.budget import Budget
from perft.selection import pareto_front, why_no_front
from perft.tracking import DEFAULT as TRACKER

MAY_CHANGE = frozenset({"space", "storage", "num_trials", "gpus_per_worker", "budget"})
"""Settings that may be given with `resume`."""

_PARAMETERS = {"confirmations": "confirm"}
"""Fields of `SearchRequest` whose parameter has another name."""


def search(
    space: SearchSpace | str | Path | None = None,
    *,
    base_model: str | Path | None = None,
    data: str | Path | None = None,
    name: str | None = None,
    num_trials: int | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    max_hours: float | None = None,
    max_gpu_hours: float | None = None,
    max_steps_total: int | None = None,
    objective: str = DEFAULT_OBJECTIVE,
    sampler: str = DEFAULT_SAMPLER,
    pruner: str | None = None,
    second_chances: int | None = None,
    confirm: int = 0,
    max_activated: str | None = None,
    warm_start: Sequence[str] = (),
    validation_size: int = 400,
    rung_accuracy: bool | None = None,
    other_text: Sequence[str] | None = None,
    groups: int | None = None,
    slots: int | None = None,
    workers_per_group: int = 1,
    gpus_per_worker: float | None = None,
    dtype: str = "auto",
    experts: str = "auto",
    quantize: str = "none",
    checkpointing: bool = False,
    compile: bool | None = None,
    storage: str | Path | None = None,
    tracker: str = TRACKER,
    system_metrics: bool = False,
    resume: str | None = None,
    trust_code: bool = False,
    callbacks: Sequence[SearchCallback] = (),
    quiet: bool = False,
) -> Results:
    """Searches for the best adapters of a base on a task, as the command `perft search` does.

    A Ray that this process is connected to is used, and stays; otherwise the search starts its own.
    Ctrl-C, or a notebook's stop button, stops it cleanly.

    Args:
        space: a `SearchSpace`, a module of `search_spaces`, or a Python file with a `SPACE`.
        base_model: a directory or hub id; None for the built-in base.
        data: a directory, or "hub"; None for the built-in task, or the space's own.
        name: of the search; None for the space and the time.
        num_trials: trials in all; None for the space's, or as many as the budget allows. With
            `resume`, a larger number adds trials.
        max_steps: steps of a full-length trial; None for the space's.
        seed: what is drawn follows from it.
        max_hours: hours that the search may run.
        max_gpu_hours: the same, times its GPUs.
        max_steps_total: optimiser steps of all trials together.
        objective: what the search aims at: "front", "accuracy" or "loss".
        sampler: what proposes trials; names as of `--sampler`.
        pruner: what stops weak trials at rungs, "asha" or "none"; None for the objective's.
        second_chances: stopped trials to continue at the end; None for one in eight.
        confirm: trainings with other seeds of each trial on the front.
        max_activated: limit on activated parameters: "0.1%" of the base's, or a number as text.
        warm_start: names of earlier searches of this space and base to start from.
        validation_size: validation examples.
        rung_accuracy: whether answers are generated at every rung; None for the objective's.
        other_text: texts of which it is measured what full-length trials forget: a text file,
            "pretraining" or a built-in task; None for those of the space's study.
        groups: worker groups, one base each; None for what fits the cluster.
        slots: trials that a group trains together; None for what fits.
        workers_per_group: processes that share one base.
        gpus_per_worker: 1, a part of one, or 0 for CPUs; None for what the cluster has.
        dtype: of the base: "auto", "bfloat16" or "float32".
        experts: how the base's experts are computed.
        quantize: how the base's large weights are held: "none", "nf4", "mxfp4", "int8" or "fp8".
        checkpointing: whether the base's layers are computed again in the backward pass.
        compile: whether the base is compiled; None for on GPUs.
        storage: the directory or URI for searches; None for `~/.perft/searches`.
        tracker: what shows the search beside its folder: "mlflow" or "folder".
        system_metrics: whether MLflow also shows load, memory and GPUs of this machine.
        resume: the search to resume; its other settings stay. A space that was an object must be
            given again.
        trust_code: with `resume`, runs the file that the search's folder names, even if it was
            never named on this machine.
        callbacks: hear of the search as it runs.
        quiet: whether to show no progress.

    Returns:
        The results, read from the search's folder.

    Raises:
        PerftError: if something cannot work; the message says what to do. Most is found before a
            worker starts.
        InterruptedSearchError: if it was stopped; the message says how to resume it.
    """
    stages = Stages(_console(quiet))
    request = SearchRequest(
        space=str(space) if isinstance(space, Path) else space or "",
        name=name,
        num_trials=num_trials,
        base_model=_text(base_model),
        data=_text(data),
        storage=_text(storage),
        validation_size=validation_size,
        max_steps=max_steps,
        workers_per_group=workers_per_group,
        groups=groups,
        slots=slots,
        gpus_per_worker=gpus_per_worker,
        seed=seed,
        dtype=dtype,
        experts=experts,
        quantize=quantize,
        checkpointing=checkpointing,
        compile=compile,
        rung_accuracy=rung_accuracy,
        other_texts=None if other_text is None else tuple(other_text),
        sampler=sampler,
        pruner=pruner,
        objective=objective,
        second_chances=second_chances,
        confirmations=confirm,
        max_activated=max_activated,
        warm_start=tuple(warm_start),
        tracker=tracker,
        system_metrics=system_metrics,
        budget=Budget(
            max_hours=max_hours, max_gpu_hours=max_gpu_hours, max_steps_total=max_steps_total
        ),
    )
    if resume is not None:
        plan = _resumed(request, resume, stages, trust_code=trust_code)
    elif space is None:
        raise ConfigError(
            "give a space to search, as perft.search('arithmetic'), or a search to resume, as "
            "perft.search(resume=NAME)"
        )
    elif trust_code:
        raise ConfigError("trust_code goes with resume; a space that you give is run")
    else:
        plan = prepare(request, stages.during)
    return _run(plan, stages, Relay(callbacks))


def _resumed(request: SearchRequest, name: str, stages: Stages, *, trust_code: bool) -> SearchPlan:
    """The plan of a search that resumes; a setting other than its default counts as given."""
    default = SearchRequest(space="")
    given = [
        each.name
        for each in dataclasses.fields(request)
        if getattr(request, each.name) != getattr(default, each.name)
    ]
    bounds = {key: bound for key, bound in vars(request.budget).items() if bound is not None}
    return prepare_resume(
        name,
        request.storage,
        space=request.space or None,
        num_trials=request.num_trials,
        bounds=bounds,
        trust_code=trust_code,
        unchangeable=[_PARAMETERS.get(each, each) for each in given if each not in MAY_CHANGE],
        gpus_per_worker=request.gpus_per_worker,
        tell=stages.say,
        during=stages.during,
    )


def _run(plan: SearchPlan, stages: Stages, relay: Relay) -> Results:
    stages.say(f"search {plan.settings.name} in {plan.search.shown}")
    for what in plan.given.unknown:
        stages.say(
            f"note: the search's folder cannot keep {what} of its space; when it resumes, a change "
            "of it goes unnoticed"
        )
    try:
        finished = run_search(plan, stages, listeners=[relay])
    except InterruptedSearchError as error:
        error.add_note(f"in Python: {plan.settings.call_to_resume(plan.root)}")
        raise error from None  # where it was interrupted tells the user nothing
    except PerftError as error:
        if (raised := _raised_by_callback(error)) is not None:
            raised.add_note(str(error))
            raise raised from None
        raise
    if not pareto_front(finished.results):
        stages.say(f"note: {why_no_front(finished.results)}")
    results = Results(plan.search)
    relay.finished(results)
    return results


def _raised_by_callback(error: PerftError) -> BaseException | None:
    """What a callback raised, if that is what ended the search."""
    ended_by = error.__cause__
    return ended_by.__cause__ if isinstance(ended_by, CallbackError) else None


def _console(quiet: bool) -> Console:
    return NotebookConsole(quiet=quiet) if Console().is_jupyter else screen(quiet=quiet)


def _text(place: str | Path | None) -> str | None:
    return None if place is None else str(place)
