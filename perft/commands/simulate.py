"""Replays a search with other settings on recorded trials: how long it takes, what it finds.

Nothing is trained. The trials are those of an earlier search, or of a file of
`benchmarks/record_curves.py`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import track
from rich.table import Table

from perft.checks import require_choice
from perft.errors import ConfigError
from perft.files import Json
from perft.options import (
    LARGEST_SEED,
    MAX_SLOTS,
    MAX_TRIALS,
    JsonOption,
    QuietOption,
    StorageOption,
    search_names,
    space_names,
)
from perft.screen import Output
from perft.searches import find_search
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.replay.recording import Recording
from perft.searching.replay.replayable import of_curves, of_search
from perft.searching.replay.simulation import Simulated, Target
from perft.searching.sampling.samplers import SAMPLERS, require_sampler
from perft.searching.steering.budget import HOUR
from perft.searching.steering.eta import duration

FEW = 64
"""Full-length trials below which the regret is said to be a rough guess."""


def main(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            help="Search whose trials are replayed.",
            show_default=False,
            autocompletion=search_names,
        ),
    ] = None,
    storage: StorageOption = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run the space's file that the search's folder names."),
    ] = False,
    curves: Annotated[
        Path | None,
        typer.Option(
            help="Instead of --name: trials that benchmarks/record_curves.py has recorded.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="With --curves: their space.", show_default=False, autocompletion=space_names
        ),
    ] = None,
    sampler: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Sampler: {', '.join(SAMPLERS)}; may be repeated.", show_default="the search's"
        ),
    ] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Pruner: {', '.join(PRUNERS)}; may be repeated.", show_default="the search's"
        ),
    ] = None,
    num_trials: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_TRIALS, help="Trials to draw.", show_default="the search's"),
    ] = None,
    groups: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Worker groups.", show_default="the search's"),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_SLOTS,
            help="Trials a group trains together.",
            show_default="the search's",
        ),
    ] = None,
    seconds_per_step: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=1e6,
            help="Seconds in which a group trains all its slots by a step, evaluations included.",
            show_default="as measured in the search",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=2, max=10_000, help="Searches, each of its own seed.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the first.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Replay searches on recorded trials: how long they take, and how near they come to the front.

    The regret is the share of the hypervolume of all recorded trials' front that the front of a
    search lacks: 0 if it finds the same. A trial is answered for by the recorded one that is
    nearest; where that one was stopped, so is the trial.

    Examples:
      perft simulate --name first --sampler ehvi --sampler random
      perft simulate --name first --groups 2 --slots 8 --repeats 50
      perft simulate --curves curves.json --space arithmetic --pruner none
    """
    output = Output(as_json=as_json, quiet=quiet)
    if (name is None) == (curves is None):
        raise ConfigError("give either --name, an earlier search, or --curves, a file of trials")
    if (space is None) != (curves is None):
        raise ConfigError("--space goes with --curves: the space that the recorded trials are of")
    for each in sampler or []:
        require_sampler(each)
    for each in pruner or []:
        require_choice("pruner", each, PRUNERS)
    if name is not None:
        source = of_search(find_search(name, storage), trust_code=trust_code, tell=output.say)
    else:
        assert curves is not None
        assert space is not None
        source = of_curves(curves, space)
    own = source.scenario
    base = replace(
        own,
        num_trials=num_trials or own.num_trials,
        groups=groups or own.groups,
        slots=slots or own.slots,
    )
    measured = source.seconds_per_step if base.slots == own.slots else None
    seconds = measured if seconds_per_step is None else seconds_per_step
    gpus = base.groups * source.gpus_per_group
    recording = Recording(source.trials)
    target = Target.of(recording.trials)
    kinds = list(itertools.product(sampler or [base.sampler], pruner or [base.pruner]))
    simulated = [
        Simulated.of(
            replace(base, sampler=one, pruner=rule), source.draw, recording, target,
            range(seed, seed + repeats),
        )
        for one, rule in track(kinds, "replaying", console=output.progress, transient=True)
    ]  # fmt: skip
    output.document({"simulated": [_to_json(each, seconds, gpus) for each in simulated]})
    output.table(_table(simulated, seconds, gpus))
    for remark in _remarks(recording, simulated, seconds):
        output.say(remark)
    least = min(simulated, key=lambda each: each.regret[0])
    output.last(
        f"least regret: {least.regret[0]:.1%}, by sampler {least.scenario.sampler} and pruner "
        f"{least.scenario.pruner}"
    )


def _table(simulated: Sequence[Simulated], seconds: float | None, gpus: float) -> Table:
    one = simulated[0].scenario
    table = Table(
        title=f"{one.num_trials} trials, {one.groups * one.slots} at a time: means of "
        f"{len(simulated[0].searches)} searches",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("sampler", "pruner"):
        table.add_column(heading, no_wrap=True)
    headings = ["full\nlength", "steps", "in a\nrow", "time", "GPU\nhours", "regret", "5% to\n95%"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in simulated:
        mean, low, high = each.regret
        taken = None if seconds is None else each.in_a_row * seconds
        table.add_row(
            each.scenario.sampler,
            each.scenario.pruner,
            f"{each.full_length:.1f}",
            f"{each.steps:,.0f}",
            f"{each.in_a_row:,.0f}",
            "" if taken is None else duration(taken),
            "" if taken is None or not gpus else f"{taken * gpus / HOUR:,.2f}",
            f"{mean:.1%}",
            f"{100 * low:.1f}-{100 * high:.1f}%",
        )
    return table


def _remarks(
    recording: Recording, simulated: Sequence[Simulated], seconds: float | None
) -> Iterator[str]:
    full = sum(trial.outcome == "complete" for trial in recording.trials)
    stopped = len(recording.trials) - full
    yield f"Replayed on {full} full-length trials" + (
        f" and {stopped} that were stopped, which answer only as far as they got: "
        f"{max(each.cut for each in simulated):.0%} of the trials would have gone on there."
        if stopped
        else "."
    )
    if full < FEW:
        yield f"With fewer than {FEW} full-length trials the regret is a rough guess."
    if seconds is None:
        yield "For the time, give --seconds-per-step."


def _to_json(one: Simulated, seconds: float | None, gpus: float) -> dict[str, Json]:
    mean, low, high = one.regret
    hours = None if seconds is None else one.in_a_row * seconds / HOUR
    return {
        **asdict(one.scenario),
        "rungs": list(one.scenario.rungs),
        "searches": len(one.searches),
        "full_length": one.full_length,
        "cut": one.cut,
        "steps": one.steps,
        "steps_in_a_row": one.in_a_row,
        "hours": hours,
        "gpu_hours": None if hours is None else hours * gpus,
        "regret": {"mean": mean, "q05": low, "q95": high},
    }
