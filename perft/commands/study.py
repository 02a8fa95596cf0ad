"""Answers a question about adapters by a fixed design, and ends with a page of findings."""

import gc
from typing import TYPE_CHECKING, Annotated

import typer

from perft.options import (
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
    space_names,
)
from perft.screen import Output
from perft.searching.foreground import run_in_foreground
from perft.searching.stages import Stages
from perft.studies import MAX_SEEDS, SEEDS, Study
from perft.studies.study import counted, said

if TYPE_CHECKING:
    from perft.searching.prepare import SearchPlan
    from perft.searching.run import Finished


def main(
    study: Annotated[
        str,
        typer.Argument(
            help="A space with a study, such as baselines, or a file.",
            show_default=False,
            autocompletion=space_names,
        ),
    ],
    *,
    seeds: Annotated[
        int,
        typer.Option(min=2, max=MAX_SEEDS, help="Trainings of each adapter at each rate."),
    ] = SEEDS,
    name: NewNameOption = None,
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
    other_text: OtherTextOption = None,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
    quantize: QuantizeOption = "none",
    checkpointing: CheckpointingOption = False,
    compile: CompileOption = None,
    tracker: TrackerOption = "mlflow",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer a question about adapters: train a fixed design, and say what follows from it.

    A study is a search that draws every trial of its design and stops none: all adapters at all
    rates, with several seeds. Its page has what is shown, what stays open, the numbers, and the
    command that repeats them. An interrupted study goes on by `perft search --resume NAME`.

    Examples:
      perft study bottleneck
      perft study baselines --seeds 5 --name methods
      perft study sparsity --base-model path/of/base --data hub --seeds 2
    """
    output = Output(as_json=as_json, quiet=quiet)
    slots_wanted, gpus_wanted = number_of_slots(slots), number_of_gpus(gpus_per_worker)
    stages = Stages(output.console, output.event)
    stages.say("loading the libraries")
    # Imported late: help, and mistakes in the options, show at once.
    from perft.searching.prepare import SearchRequest, prepare  # noqa: PLC0415
    from perft.searching.space import find_study  # noqa: PLC0415

    asked = find_study(study)
    request = SearchRequest(
        space=study,
        name=name,
        num_trials=seeds * asked.design.cells,
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
        other_texts=tuple(other_text) if other_text else None,
        dtype=dtype,
        experts=experts,
        quantize=quantize,
        checkpointing=checkpointing,
        compile=compile,
        sampler="random",  # draws nothing: the points of the space are as many as the trials
        pruner="none",
        second_chances=0,
        tracker=tracker,
    )
    plan = prepare(request, stages.during)
    flags = {"--json": as_json, "--quiet": quiet}
    finished = run_in_foreground(plan, stages, [flag for flag, given in flags.items() if given])
    _show(asked, plan, finished, output)
    # Skips the two seconds of garbage collection at exit.
    gc.freeze()


def _show(study: Study, plan: "SearchPlan", finished: "Finished", output: Output) -> None:
    from perft.search_folder import STUDY_PAGE  # noqa: PLC0415
    from perft.studies.answers import Answers  # noqa: PLC0415 - slow

    findings = study.findings(Answers.of(finished.results))
    page = f"{plan.search.shown}/{STUDY_PAGE}"
    output.event(
        "end",
        search=plan.settings.name,
        folder=plan.search.shown,
        page=page,
        findings=[vars(each) for each in findings],
    )
    for line in said(findings):
        output.say(line)
    output.say(f"\npage:    {page}")
    output.last(f"study {plan.settings.name}: {counted(findings)}")
