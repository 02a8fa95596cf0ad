"""The time of one search with perft, in the documented Ray way, and without any engine.

`python benchmarks/search_makespan.py`. All sides train the same configurations with the same loop,
data, seeds, rungs and ASHA, from the command to the last result. perft runs as a user runs it, with
MLflow, the plots and the test scores, which the others go without. The documented Ray way takes one
CPU for a trial's driver and one for its worker; `--concurrency` gives the drivers none, so that
more trials run at once than the guide would have it.

Run it on a quiet machine, with no other Ray on it: where there are two, Ray 2.60 fails to free the
CPU of a stock trial that ASHA stopped, and the trials after it wait for ever.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated

import ray
import typer
from rich.console import Console
from search_sides import (
    REPOSITORY,
    SAME_RULE,
    Side,
    differences,
    drawn,
    phase_table,
    run_search,
    workplace,
)
from stock_ray import run_stock

from perft.searching.space import REDUCTION_FACTOR
from perft.trial import Report


def main(
    num_trials: Annotated[int, typer.Option(min=1, help="Trials.")] = 16,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Trials at a time on the stock side; may be given twice.",
            show_default="the guide's and one per CPU",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
) -> None:
    """Run one search in each way and print the ratios of the times."""
    console = Console()
    cpus = os.cpu_count() or 1
    with workplace() as folder:
        console.print(f"perft: {num_trials} trials", highlight=False)
        options = ["--space", "arithmetic", "--num-trials", str(num_trials), "--seed", str(seed)]
        ours = run_search(folder, [*options, *SAME_RULE, "--rung-accuracy"], console)
        console.print("the same trials one after another in one process")
        others = {"sequential": _sequential(folder)}
        for number in concurrency or sorted({max(1, cpus // 2), cpus}):
            console.print(f"stock Ray: the same trials, {number} at a time")
            others[f"stock, {number} at a time"] = _stock(folder, number)
    console.print(phase_table("perft", ours))
    for name, other in others.items():
        console.print(phase_table(name, other))
        apart = differences(ours, other)
        console.print(
            f"steps trained: perft {ours.steps}, {name} {other.steps}; of {len(apart)} "
            f"validation losses that both reported the median differs by "
            f"{median(apart):.1e} nats\n"
            f"[bold]{name} / perft: {other.seconds / ours.seconds:.1f}[/bold]\n",
            highlight=False,
        )


def _sequential(folder: Path) -> Side:
    """Runs them in one process, one after another."""
    configs, settings, source = drawn(folder)
    job = {
        "configs": [config.to_flat() for config in configs],
        "rungs": settings["rungs"],
        "source": asdict(source),
        "base": settings["base_model"],
        "reduction_factor": REDUCTION_FACTOR,
    }
    given, made = folder / "job.json", folder / "done.json"
    given.write_text(json.dumps(job))
    program = str(REPOSITORY / "benchmarks" / "sequential.py")
    start = time.monotonic()
    subprocess.run([sys.executable, program, str(given), str(made)], check=True)
    end = time.monotonic()
    done = json.loads(made.read_text())
    phases = {"imports": end - start - sum(done["seconds"].values()), **done["seconds"]}
    reports = [[Report.from_json(each) for each in trial] for trial in done["reports"]]
    return Side(end - start, phases, dict(enumerate(reports)))


def _stock(folder: Path, concurrency: int) -> Side:
    """Runs them the documented Ray way."""
    configs, settings, source = drawn(folder)
    start = time.monotonic()
    ray.init(num_cpus=concurrency, log_to_driver=False)
    started = time.monotonic()
    try:
        trials = run_stock(
            configs,
            settings["rungs"],
            source,
            base=settings["base_model"],
            storage=folder / f"stock-{concurrency}",
            concurrency=concurrency,
            reduction_factor=REDUCTION_FACTOR,
        )
    finally:
        ray.shutdown()
    end = time.monotonic()
    phases = {"start of Ray": started - start}
    for trial in trials:
        for phase, seconds in trial.seconds.items():
            name = f"{phase}, all trials / {concurrency}"
            phases[name] = phases.get(name, 0.0) + seconds / concurrency
    phases["start and end of trials in Tune, waiting"] = end - start - sum(phases.values())
    return Side(end - start, phases, {trial.number: trial.reports for trial in trials})


if __name__ == "__main__":
    typer.run(main)
