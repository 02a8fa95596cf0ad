"""Trains one trial without a search: a pack of one in this process, without Ray or MLflow."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import typer
from rich.progress import Progress

from perft.adapter_options import Settings, adapter_of, with_adapter_options
from perft.cli import option_name
from perft.config.training import OBJECTIVE_SETTINGS, ObjectiveName
from perft.errors import ConfigError
from perft.home import remember_place
from perft.models.precision import require_precision
from perft.models.source import base_directory, check_base, is_tiny
from perft.options import (
    LARGEST_SEED,
    MAX_SLOTS,
    MAX_STEPS,
    BaseOption,
    CheckpointingOption,
    CompileOption,
    DataOption,
    DtypeOption,
    ExpertsOption,
    JsonOption,
    QuantizeOption,
    QuietOption,
    RungAccuracyOption,
    ValidationSizeOption,
    space_names,
)
from perft.screen import Output
from perft.searching.base import require_base, require_experts, with_base_template
from perft.searching.space import SearchSpace, find_space, of_length
from perft.selection import describe, format_score, format_share
from perft.storage import Storage
from perft.tasks import Task, TaskSource, load_task, root_of
from perft.training.objective import require_readable
from perft.trial import Report, TrialConfig

NAME = "trial"


@with_adapter_options()
def main(
    *,
    space: Annotated[
        str,
        typer.Option(help="Search space that gives task and defaults.", autocompletion=space_names),
    ],
    settings: Settings,
    lr: Annotated[
        float | None,
        typer.Option(min=0, max=10, help="Learning rate.", show_default="the space's"),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help=f"What is minimised: {' or '.join(get_args(ObjectiveName))}.",
            show_default="the space's",
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            min=0, max=1e6, help="Closeness to the base (dpo).", show_default="the space's"
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_STEPS, help="Optimiser steps.", show_default="the space's"),
    ] = None,
    base_model: BaseOption = None,
    data: DataOption = None,
    validation_size: ValidationSizeOption = 400,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seeds adapter, data order, dropout.")
    ] = 0,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
    quantize: QuantizeOption = "none",
    checkpointing: CheckpointingOption = False,
    compile: CompileOption = None,
    slots: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_SLOTS,
            help="Trials that a micro-batch has room for; a search's --slots repeats its numbers.",
        ),
    ] = 1,
    rung_accuracy: RungAccuracyOption = None,
    out: Annotated[
        str | None, typer.Option(help="Where to write the adapter.", show_default="nowhere")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one adapter, report at the space's rungs, and score it on the test splits.

    The same configuration and seed give the same numbers as in a search.

    Examples:
      perft train --space arithmetic --variant perft-s --rank 4 --lr 3e-3
      perft train --space arithmetic --variant perft-e --rank 8 --out adapter
      perft train --space commonsense --variant lora-qv --rank 8 --json
    """
    output = Output(as_json=as_json, quiet=quiet)
    found = find_space(space)
    trained = {"lr": lr, "objective": objective, "beta": beta}
    config = _config(found, settings, trained, builtin=is_tiny(base_model))
    training = of_length(config.training, seed, max_steps)
    source = found.source(data, validation_size, seed)
    check_base(base_model)
    require_precision(quantize, compile=compile)
    require_experts(experts, training=True, quantize=quantize)
    source = with_base_template(source, base_model)
    task = load_task(source)
    require_readable(training.objective, task)
    require_base(base_model, task.splits)
    target = Storage(out).prepare() if out else None
    trial = TrialConfig(config.adapter, training)
    base_options = {
        "base": base_model,
        "dtype": dtype,
        "experts": experts,
        "quantize": quantize,
        "compile": compile,
    }
    pack_options = {
        "slots": slots,
        "checkpointing": checkpointing,
        # On a real base answers take longer than the training between two rungs.
        "rung_accuracy": is_tiny(base_model) if rung_accuracy is None else rung_accuracy,
    }
    report, files = _train(found, trial, (source, task), base_options, pack_options, output=output)
    if target:
        for name, content in files.items():
            target.write(name, content)
    output.event("end", folder=target.shown if target else None)
    place = f", is in {target.shown}" if target else ""
    output.last(f"trained: {describe(trial)}, validation {format_score(report)}{place}")


def _config(
    space: SearchSpace, settings: Settings, trained: Mapping[str, Any], *, builtin: bool
) -> TrialConfig:
    changed = {name: value for name, value in trained.items() if value is not None}
    training = dataclasses.replace(space.trained(builtin), **changed)
    for objective, own in OBJECTIVE_SETTINGS.items():
        for name in changed.keys() & set(own) - set(OBJECTIVE_SETTINGS[training.objective]):
            raise ConfigError(
                f"the objective {training.objective} has no {name}, found {option_name(name)} "
                f"{changed[name]}; leave it out, or add --objective {objective}"
            )
    return TrialConfig(adapter_of(settings), training)


def _train(
    space: SearchSpace,
    config: TrialConfig,
    data: tuple[TaskSource, Task],
    base_options: dict[str, Any],
    pack_options: dict[str, Any],
    *,
    output: Output,
) -> tuple[Report, dict[str, bytes]]:
    """The last report, and the adapter's files."""
    # Imported late: a mistake in the options shows at once, before torch is loaded.
    import torch  # noqa: PLC0415

    from perft.models.load import load_base  # noqa: PLC0415
    from perft.ranks import Ranks  # noqa: PLC0415
    from perft.training.pack import Pack  # noqa: PLC0415

    source, task = data
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_base(device=device, **base_options)
    pack = Pack(base, task, Ranks(device=device), **pack_options)
    remember_place(base.fingerprint, base_directory(base_options["base"]))
    if root := root_of(source):
        remember_place(task.fingerprint, root)
    pack.admit(NAME, config)
    size = pack.size(NAME)
    output.event("start", config=config.to_flat(), size=dataclasses.asdict(size))
    output.say(
        f"{config.adapter.variant}: {size.trainable:,} trainable, {size.activated:,} activated "
        f"PEFT parameters ({size.activated_percent:.3f}% of the base's activated)"
    )
    steps = config.training.max_steps
    with Progress(console=output.console, disable=not output.console.is_terminal) as progress:
        bar = progress.add_task("training", total=steps)
        for target in space.steps_of_rungs(steps):
            report = pack.advance({NAME: target}, lambda: progress.advance(bar))[NAME]
            if isinstance(report, str):
                raise ConfigError(f"the trial failed: {report}; lower --lr")
            output.event("report", **report.to_json())
            last = report
            output.say(_line(report))
    scores = pack.count_tests(pack.predict_tests([NAME]))
    for split, (correct, scored) in scores[NAME].items():
        output.event("test", split=split, correct=correct, scored=scored)
        output.say(f"test split {split}: {correct}/{scored}, {format_share(correct, scored)}")
    return last, pack.adapter(NAME, source)


def _line(report: Report) -> str:
    accuracy = (
        f"accuracy {format_score(report)} on {report.scored} validation examples, "
        if report.scored
        else ""
    )
    return (
        f"step {report.step}: train loss {report.train_loss:.4f}, val loss {report.val_loss:.4f}, "
        f"{accuracy}{report.tokens_per_second:,.0f} tokens/s"
    )
