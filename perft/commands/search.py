"""Searches for the best adapters of a base on a task, and ends with the Pareto front."""

import gc
from typing import Annotated

import typer

from perft.cli import explicit_options
from perft.errors import ConfigError
from perft.options import (
    MAX_TRIALS,
    BaseOption,
    CheckpointingOption,
    CompileOption,
    DataOption,
    DtypeOption,
    ExpertsOption,
    GpusOption,
    GroupsOption,
    JsonOption,
    MaxStepsOption,
    NewNameOption,
    NewStorageOption,
    OtherTextOption,
    QuantizeOption,
    QuietOption,
    SearchSeedOption,
    SlotsOption,
    TrackerOption,
    ValidationSizeOption,
    WorkersOption,
    number_of_gpus,
    number_of_slots,
    search_names,
    space_names,
)
from perft.screen import Output
from perft.searching.foreground import run_in_foreground
from perft.searching.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.sampling.samplers import DEFAULT_SAMPLER, HUB, SAMPLERS
from perft.searching.stages import Stages
from perft.searching.steering.budget import MAX_STEPS_TOTAL, Budget

MAY_CHANGE = (
    "resume",
    "space",
    "storage",
    "num_trials",
    "gpus_per_worker",
    "trust_code",
    "max_hours",
    "max_gpu_hours",
    "max_steps_total",
    "as_json",
    "quiet",
)
"""Options that may be given with `--resume`."""

MAX_EXTRA = 1000
"""Most second chances, and most confirmations of one trial."""


def main(
    context: typer.Context,
    *,
    space: Annotated[
        str | None,
        typer.Option(
            help="Search space: a module of search_spaces/, or a file.",
            show_default=False,
            autocompletion=space_names,
        ),
    ] = None,
    name: NewNameOption = None,
    num_trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_TRIALS,
            help="Trials in all; with --resume, a larger number adds trials to the search.",
            show_default="the space's, or as many as the budget allows",
        ),
    ] = None,
    max_hours: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1e6, help="Hours that the search may run.", show_default="no bound"
        ),
    ] = None,
    max_gpu_hours: Annotated[
        float | None,
        typer.Option(min=0.001, max=1e9, help="The same, times its GPUs.", show_default="no bound"),
    ] = None,
    max_steps_total: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_STEPS_TOTAL,
            help="Optimiser steps of all trials together.",
            show_default="no bound",
        ),
    ] = None,
    base_model: BaseOption = None,
    data: DataOption = None,
    storage: NewStorageOption = None,
    workers_per_group: WorkersOption = 1,
    groups: GroupsOption = None,
    slots: SlotsOption = "auto",
    gpus_per_worker: GpusOption = "auto",
    max_steps: MaxStepsOption = None,
    validation_size: ValidationSizeOption = 400,
    seed: SearchSeedOption = 0,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
    quantize: QuantizeOption = "none",
    checkpointing: CheckpointingOption = False,
    compile: CompileOption = None,
    rung_accuracy: Annotated[
        bool | None,
        typer.Option(
            "--rung-accuracy/--no-rung-accuracy",
            help="Generate answers at every rung, not only at full length.",
            show_default="with --objective accuracy, on the built-in base",
        ),
    ] = None,
    other_text: OtherTextOption = None,
    sampler: Annotated[
        str,
        typer.Option(
            help=f"Sampler, which proposes trials: {', '.join(SAMPLERS)}, or {HUB}NAME of "
            "OptunaHub (its code is downloaded and run)."
        ),
    ] = DEFAULT_SAMPLER,
    pruner: Annotated[
        str | None,
        typer.Option(
            help=f"Pruner, which stops weak trials at rungs: {' or '.join(PRUNERS)}.",
            show_default="the objective's",
        ),
    ] = None,
    objective: Annotated[
        str, typer.Option(help=f"What the search aims at: {' or '.join(OBJECTIVES)}.")
    ] = DEFAULT_OBJECTIVE,
    second_chances: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_EXTRA,
            help="Stopped trials to continue once no new ones are drawn.",
            show_default="one in eight trials",
        ),
    ] = None,
    confirm: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_EXTRA, help="Trainings with other seeds of each trial on the front."
        ),
    ] = 0,
    max_activated: Annotated[
        str | None,
        typer.Option(
            help="Limit on activated parameters of what is tried: 0.1% of the base's, or a number.",
            show_default=False,
        ),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Earlier search of this space and base to start from; may be repeated.",
            show_default=False,
            autocompletion=search_names,
        ),
    ] = None,
    tracker: TrackerOption = "mlflow",
    system_metrics: Annotated[
        bool,
        typer.Option(
            "--system-metrics",
            help="Show load, memory and GPUs of the driver's machine in MLflow, too.",
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Resume the search of this name; its settings stay.",
            show_default=False,
            autocompletion=search_names,
        ),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="With --resume: run the space's file that the search's folder names, even if you "
            "never named that file on this machine.",
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search for the best adapters of a Mixture-of-Experts base on a task.

    Worker groups hold the frozen base and train many trials' adapters on it at once. A sampler
    proposes the trial that should gain the Pareto front the most, a pruner stops those that others
    beat, a tracker (MLflow) shows all of them. Without --base-model and --data everything runs on
    the built-in tiny base and task.

    Examples:
      perft search --space arithmetic
      perft search --space commonsense --name first --num-trials 40 --confirm 3
      perft search --space arithmetic --base-model path/of/base --data hub
      perft search --space ./my_space.py --max-gpu-hours 16 --tracker folder
      perft search --resume first
    """
    budget = Budget(
        max_hours=max_hours, max_gpu_hours=max_gpu_hours, max_steps_total=max_steps_total
    )
    slots_wanted, gpus_wanted = number_of_slots(slots), number_of_gpus(gpus_per_worker)
    output = Output(as_json=as_json, quiet=quiet)
    stages = Stages(output.console, output.event)
    stages.say("loading the libraries")
    # Imported late: help, and mistakes in the options, show at once.
    from perft.searching.prepare import SearchRequest, prepare  # noqa: PLC0415
    from perft.searching.resume import prepare_resume  # noqa: PLC0415

    if resume is not None:
        plan = prepare_resume(
            resume,
            storage,
            space=space,
            num_trials=num_trials,
            bounds={name: bound for name, bound in vars(budget).items() if bound is not None},
            trust_code=trust_code,
            unchangeable=[name for name in explicit_options(context) if name not in MAY_CHANGE],
            gpus_per_worker=gpus_wanted,
            tell=stages.say,
            during=stages.during,
        )
    elif trust_code:
        raise ConfigError("--trust-code goes with --resume; a file that --space names is run")
    elif space is not None:
        request = SearchRequest(
            space=space,
            name=name,
            num_trials=num_trials,
            base_model=base_model,
            data=data,
            storage=storage,
            validation_size=validation_size,
            max_steps=max_steps,
            workers_per_group=workers_per_group,
            groups=groups,
            slots=slots_wanted,
            gpus_per_worker=gpus_wanted,
            seed=seed,
            dtype=dtype,
            experts=experts,
            quantize=quantize,
            checkpointing=checkpointing,
            compile=compile,
            rung_accuracy=rung_accuracy,
            other_texts=tuple(other_text) if other_text else None,
            sampler=sampler,
            pruner=pruner,
            objective=objective,
            second_chances=second_chances,
            confirmations=confirm,
            budget=budget,
            max_activated=max_activated,
            warm_start=tuple(warm_start or ()),
            tracker=tracker,
            system_metrics=system_metrics,
        )
        plan = prepare(request, stages.during)
    else:
        raise ConfigError("name a search space with --space, or a search to continue with --resume")
    flags = {"--trust-code": trust_code, "--json": as_json, "--quiet": quiet}
    finished = run_in_foreground(plan, stages, [flag for flag, given in flags.items() if given])
    from perft.searching.summary import show  # noqa: PLC0415 - likewise

    show(plan, finished, output)
    # Skips the two seconds of garbage collection at exit.
    gc.freeze()
