"""A whole search on one GPU against the stock pattern: one trial after another, a process each.

`python benchmarks/gpu_search.py`. 16 trials on OLMoE-1B-7B's geometry with random weights, written
as a checkpoint first, and word problems of some 130 tokens; since nothing such a base writes ends,
every answer has all of its 256 tokens. perft runs as a user runs it, `jobs/search.py`, with MLflow,
plots and test scores, which the other side goes without. The stock side (`stock_trial.py`) trains
the same configurations on the same data with ASHA's rule by hand, its loss at every rung and its
answers at full length alone, for as many trials as fit `--stock-seconds`. Both are counted from the
command to the end.

If the stock side does not finish, the rest is extrapolated: start and load for each trial, training
and evaluation for each step that perft's search has trained.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from card import device_for
from random_base import write_data
from rich.console import Console
from search_sides import REPOSITORY, SAME_RULE, Side, drawn, phase_table, run_search, workplace

from perft.searching.space import REDUCTION_FACTOR

ROWS_AT_ONCE = 16
"""Of a batch in the stock side's evaluation, as in its training."""
TRAIN_EXAMPLES, TEST_EXAMPLES = 1000, 8
"""Of test examples few: only perft scores them."""
Done = Mapping[str, Any]
"""What `stock_trial.run_trial` says of a trial; its `seconds` with the start of the process."""


def main(
    *,
    num_trials: Annotated[int, typer.Option(min=1, help="Trials.")] = 16,
    max_steps: Annotated[int, typer.Option(min=2, help="Steps of a full-length trial.")] = 100,
    validation_size: Annotated[int, typer.Option(min=1, help="Validation examples.")] = 100,
    stock_seconds: Annotated[
        float, typer.Option(min=0, help="No stock trial starts after so long.")
    ] = 900.0,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A tiny base on the CPU: shows that it runs.")
    ] = False,
) -> None:
    """Run one search in both ways and print the ratio of the times."""
    device = str(device_for(tiny=tiny))
    console = Console()
    with workplace() as folder:
        if tiny:  # whatever this machine has
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        base = str(folder / "base")
        _run("random_base.py", base, device)  # a process of its own leaves the GPU empty
        data = write_data(folder / "data", TRAIN_EXAMPLES + validation_size, TEST_EXAMPLES)
        options = ["--space", "arithmetic", "--base-model", base, "--data", data]
        options += ["--num-trials", str(num_trials), "--max-steps", str(max_steps)]
        options += ["--validation-size", str(validation_size), "--seed", str(seed)]
        console.print(f"perft: {num_trials} trials", highlight=False)
        ours = run_search(folder, [*options, *SAME_RULE], console)
        console.print("the same trials, one after another, each in a process of its own")
        stock, trials = run_stock_trials(folder, device, stock_seconds, console)
        settings = drawn(folder)[1]
    console.print(
        f"perft trained {num_trials} trials in {settings['groups']} group(s) of "
        f"{settings['slots']} slots",
        highlight=False,
    )
    console.print(phase_table("perft", ours))
    console.print(phase_table(f"stock, {len(trials)} of {num_trials} trials", stock))
    whole = stock.seconds + reckoned(trials, num_trials, ours.steps)
    console.print(
        f"steps trained: perft {ours.steps}, stock {sum(t['step'] for t in trials)}\n"
        f"the stock side's {num_trials} trials: {whole:.0f} s"
        f"{'' if len(trials) == num_trials else ', most of it reckoned'}\n"
        f"[bold]stock / perft: {whole / ours.seconds:.1f}[/bold]",
        highlight=False,
    )


def run_stock_trials(
    folder: Path, device: str, limit: float, console: Console
) -> tuple[Side, list[Done]]:
    """Runs the trials of perft's search one after another, until the time is up.

    Args:
        folder: with perft's search.
        device: where to.
        limit: no trial but the first starts after so many seconds.
        console: hears of every trial.
    """
    configs, settings, source = drawn(folder)
    losses: dict[str, list[float]] = {}
    trials: list[Done] = []
    start = time.monotonic()
    for number, config in enumerate(configs):
        if trials and time.monotonic() - start > limit:
            break
        job = {
            "config": config.to_flat(),
            "base": settings["base_model"],
            "source": asdict(source),
            "rungs": settings["rungs"],
            "losses": losses,
            "reduction_factor": REDUCTION_FACTOR,
            "rows": ROWS_AT_ONCE,
            "device": device,
        }
        done = _run_trial(folder, job)
        for rung, loss in done["losses"].items():
            losses.setdefault(rung, []).append(loss)
        trials.append(done)
        took = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in done["seconds"].items())
        console.print(
            f"  trial {number}, {config.adapter.variant}, step {done['step']}: {took} s",
            highlight=False,
        )
    phases = {name: sum(each["seconds"][name] for each in trials) for name in trials[0]["seconds"]}
    return Side(time.monotonic() - start, phases, {}), trials


def reckoned(trials: Sequence[Done], wanted: int, steps: int) -> float:
    """Seconds that the trials which did not run would take.

    Args:
        trials: those that did.
        wanted: how many there would be.
        steps: that all of them would train.
    """
    missing = wanted - len(trials)
    if not missing:
        return 0.0
    begin: float = mean(each["seconds"]["start"] + each["seconds"]["load"] for each in trials)
    trained = sum(each["step"] for each in trials)
    work = sum(each["seconds"]["training"] + each["seconds"]["evaluation"] for each in trials)
    still: float = missing * begin + max(0, steps - trained) * work / trained
    return still


def _run_trial(folder: Path, job: Mapping[str, Any]) -> Done:
    given, made = folder / "job.json", folder / "done.json"
    given.write_text(json.dumps(job))
    start = time.monotonic()
    _run("stock_trial.py", str(given), str(made))
    whole = time.monotonic() - start
    done: dict[str, Any] = json.loads(made.read_text())
    seconds = done["seconds"]
    return {**done, "seconds": {"start": whole - sum(seconds.values()), **seconds}}


def _run(program: str, *arguments: str) -> None:
    path = str(REPOSITORY / "benchmarks" / program)
    subprocess.run([sys.executable, path, *arguments], check=True)


if __name__ == "__main__":
    typer.run(main)
