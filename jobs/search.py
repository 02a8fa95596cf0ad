"""Searches for the best adapters of a base on a task, and ends with the Pareto front."""

import functools
import gc
import sys
from pathlib import Path
from typing import Annotated

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for a tree that is not installed

import typer
from rich.console import Console

from perft.cli import (
    BaseOption,
    CheckpointingOption,
    CompileOption,
    DataOption,
    DtypeOption,
    ExpertsOption,
    RungAccuracyOption,
    ValidationSizeOption,
    run,
)
from perft.errors import ConfigError, SearchError
from perft.search.prepare import Prepared, Wish, prepare, prepare_resume
from perft.search.run import Finished, run_search
from perft.selection import front_table, pareto_front


def main(
    *,
    space: Annotated[
        str, typer.Option(help="Search space: a module of search_spaces/, or a file.")
    ] = "",
    name: Annotated[
        str, typer.Option(help="Name of the search.", show_default="space and time")
    ] = "",
    num_trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all.", show_default="the space's")
    ] = None,
    base_model: BaseOption = None,
    data: DataOption = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Directory or URI for searches.", show_default="~/.perft/searches"),
    ] = None,
    workers_per_group: Annotated[
        int, typer.Option(min=1, help="Processes that share one sharded base.")
    ] = 1,
    groups: Annotated[
        int | None,
        typer.Option(min=1, help="Worker groups, one base each.", show_default="fit the cluster"),
    ] = None,
    slots: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Trials a group trains together; auto: as many as a GPU's memory holds, up to 8, "
            "and on CPUs 4 in all.",
        ),
    ] = "auto",
    max_steps: Annotated[
        int | None,
        typer.Option(min=2, help="Steps of a full-length trial.", show_default="the space's"),
    ] = None,
    validation_size: ValidationSizeOption = 400,
    seed: Annotated[int, typer.Option(min=0, help="The search follows from it.")] = 0,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
    checkpointing: CheckpointingOption = False,
    compile: CompileOption = None,
    rung_accuracy: RungAccuracyOption = None,
    resume: Annotated[
        str, typer.Option(help="Go on with the search of this name; its settings stay.")
    ] = "",
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Of --resume: run the space's file that the search's folder names, unless it is "
            "one that you have named before.",
        ),
    ] = False,
) -> None:
    """Search for the best adapters of a Mixture-of-Experts base on a task.

    Worker groups hold the frozen base and train many trials' adapters on it at once; Optuna
    proposes trials, ASHA stops the weak ones early, MLflow records all of them. Without
    --base-model and --data everything runs on the embedded tiny base and task.
    """
    console = Console()
    if resume:
        tell = functools.partial(console.print, highlight=False, soft_wrap=True)
        prepared = prepare_resume(resume, storage, space=space, trust_code=trust_code, tell=tell)
    elif space:
        wish = Wish(
            space=space,
            name=name or None,
            num_trials=num_trials,
            base_model=base_model,
            data=data,
            storage=storage,
            validation_size=validation_size,
            max_steps=max_steps,
            workers_per_group=workers_per_group,
            groups=groups,
            slots=_number_of(slots),
            seed=seed,
            dtype=dtype,
            experts=experts,
            checkpointing=checkpointing,
            compile=compile,
            rung_accuracy=rung_accuracy,
        )
        prepared = prepare(wish)
    else:
        raise ConfigError("name a search space with --space, or a search to go on with --resume")
    console.print(f"search {prepared.settings.name} in {prepared.search.shown}", highlight=False)
    finished = run_search(prepared, console)
    show(prepared, finished, console)
    # At its end Python looks through all objects for what it may free; here, for two seconds.
    gc.freeze()


def _number_of(slots: str) -> int | None:
    """None for "auto"."""
    if slots == "auto":
        return None
    if not (slots.isdecimal() and int(slots) > 0):
        message = f"{slots!r} is neither a number from 1 on nor auto."
        raise typer.BadParameter(message, param_hint="'--slots'")
    return int(slots)


def show(prepared: Prepared, finished: Finished, console: Console) -> None:
    """Prints the front and where to look next.

    Raises:
        SearchError: if no trial ran to its full length.
    """
    from perft.tracking import where_to_look  # noqa: PLC0415 - MLflow is slow to import

    name = prepared.settings.name
    results = finished.results
    if not pareto_front(results):
        reasons = {result.error for result in results if result.error}
        raise SearchError(
            f"no trial of search {name!r} ran to its full length: "
            + ("; ".join(sorted(reasons)[:3]) or "all were pruned")
        )
    console.print(front_table(results))
    outcomes = [result.outcome for result in results]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("complete", "pruned", "failed"))
    console.print(f"{len(results)} trials: {counts}", highlight=False)
    for number, scores in sorted(finished.scores.items()):
        for split, (correct, scored) in scores.items():
            console.print(
                f"trial {number} on test split {split}: {correct}/{scored} "
                f"({correct / max(1, scored):.1%})",
                highlight=False,
            )
    console.print(
        f"\nlook:    {where_to_look(finished.tracking_uri)}\n"
        f"plot:    {prepared.search.shown}/pareto.html\n"
        f"front:   python jobs/pareto.py --name {name}\n"
        f"export:  python jobs/export.py --name {name} --out adapter",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    run(main)
