"""One search, run by perft, the documented Ray way, and without any engine: how long each takes.

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
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import ray
import typer
from rich.console import Console
from rich.table import Table
from stock_ray import run_stock

from perft.search.space import REDUCTION_FACTOR
from perft.selection import find_search, read_results, read_settings
from perft.tasks import TaskSource
from perft.trial import Report, TrialConfig

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "makespan"
_STAGE = re.compile(r"\[\d+:\d\d\] (?!trial )(.*)")


@dataclass(frozen=True)
class Side:
    """What one side did.

    Attributes:
        seconds: from start to end.
        phases: where the time went; seconds by phase.
        reports: by number of the trial.
    """

    seconds: float
    phases: Mapping[str, float]
    reports: Mapping[int, Sequence[Report]]

    @property
    def steps(self) -> int:
        """Optimiser steps over all trials."""
        return sum(reports[-1].step for reports in self.reports.values() if reports)


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
    seed: Annotated[int, typer.Option(help="The search follows from it.")] = 0,
) -> None:
    """Run one search in each way and print the ratios of the times."""
    console = Console()
    cpus = os.cpu_count() or 1
    with _workplace() as folder:
        console.print(f"perft: {num_trials} trials", highlight=False)
        ours = _ours(folder, num_trials, seed, console)
        console.print("the same trials one after another in one process")
        others = {"sequential": _sequential(folder)}
        for number in concurrency or sorted({max(1, cpus // 2), cpus}):
            console.print(f"stock Ray: the same trials, {number} at a time")
            others[f"stock, {number} at a time"] = _stock(folder, number)
    console.print(_table("perft", ours))
    for name, other in others.items():
        console.print(_table(name, other))
        differences = _differences(ours, other)
        console.print(
            f"steps trained: perft {ours.steps}, {name} {other.steps}; of {len(differences)} "
            f"validation losses that both reported the median differs by "
            f"{median(differences):.1e} nats\n"
            f"[bold]{name} / perft: {other.seconds / ours.seconds:.1f}[/bold]\n",
            highlight=False,
        )


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder for everything that both sides write; nothing of the user's is touched."""
    with tempfile.TemporaryDirectory(prefix="perft-makespan-") as folder:
        os.environ.update(PERFT_HOME=folder, RAY_USAGE_STATS_ENABLED="0")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield Path(folder)


def _ours(folder: Path, num_trials: int, seed: int, console: Console) -> Side:
    """Runs `jobs/search.py` and reads the clock whenever it says that a stage begins."""
    command = [sys.executable, str(REPOSITORY / "jobs" / "search.py"), "--space", "arithmetic"]
    command += ["--name", NAME, "--num-trials", str(num_trials), "--seed", str(seed)]
    start = time.monotonic()
    stages = [("imports, checks", start)]
    search = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert search.stdout is not None
    for line in search.stdout:
        console.print("  " + line.rstrip(), highlight=False, markup=False)
        if found := _STAGE.match(line):
            stages.append((found[1], time.monotonic()))
    if search.wait() != 0:
        raise SystemExit(f"the search ended with status {search.returncode}")
    end = time.monotonic()
    ends = [*(begin for _, begin in stages[1:]), end]
    phases = {name: until - begin for (name, begin), until in zip(stages, ends, strict=True)}
    results = read_results(find_search(str(folder / "searches"), NAME))
    return Side(end - start, phases, {result.number: result.reports for result in results})


def _drawn(folder: Path) -> tuple[list[TrialConfig], dict[str, Any], TaskSource]:
    """The configurations that perft's search drew, its settings and its task."""
    search = find_search(str(folder / "searches"), NAME)
    settings = read_settings(search)
    source = TaskSource(
        name=settings["task"], validation_size=settings["validation_size"], seed=settings["seed"]
    )
    return [result.config for result in read_results(search)], settings, source


def _sequential(folder: Path) -> Side:
    """Runs them in one process, one after another."""
    configs, settings, source = _drawn(folder)
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
    configs, settings, source = _drawn(folder)
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


def _differences(ours: Side, stock: Side) -> list[float]:
    """Between the validation losses that both sides reported for one trial and step."""
    losses = {(n, r.step): r.val_loss for n, reports in ours.reports.items() for r in reports}
    return [
        abs(losses[number, report.step] - report.val_loss)
        for number, reports in stock.reports.items()
        for report in reports
        if (number, report.step) in losses
    ]


def _table(title: str, side: Side) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_footer=True)
    table.add_column("where the time went", footer="all")
    table.add_column("seconds", footer=f"{side.seconds:.1f}", justify="right")
    for phase, seconds in side.phases.items():
        table.add_row(phase, f"{seconds:.1f}")
    return table


if __name__ == "__main__":
    typer.run(main)
