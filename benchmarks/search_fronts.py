"""How good the fronts of a search's defaults are: the same search with several seeds.

`python benchmarks/search_fronts.py` runs `make search` ten times, as a user does. Printed are, for
each seed, the hypervolume of the front (`perft.selection.hypervolume`, accuracy over the logarithm
of the activated parameters from 600 to 40,000), its points, the optimiser steps and the seconds;
and over all seeds their mean and worst. Options after `--` go to the search, so that two ways of
searching can be compared: `-- --objective loss --sampler tpe --pruner asha`.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from search_sides import REPOSITORY

from perft.searches import find_search
from perft.selection import pareto_front, read_results
from perft.selection.front import objective, size_and_report
from perft.selection.hypervolume import BUILTIN, hypervolume_of
from perft.trial import TrialResult, first_step


@dataclass(frozen=True)
class Found:
    """One search.

    Attributes:
        seed: its seed.
        seconds: from the command to its end.
        trials: all of its trials.
    """

    seed: int
    seconds: float
    trials: list[TrialResult]

    @property
    def hypervolume(self) -> float:
        """Of its front."""
        return hypervolume_of(self.trials, BUILTIN)

    @property
    def front(self) -> str:
        """Its points: accuracy, in percent, at activated parameters."""
        points = (size_and_report(trial) for trial in pareto_front(self.trials))
        return " ".join(f"{objective(report):.0%}@{size.activated:,}" for size, report in points)

    @property
    def steps(self) -> int:
        """Optimiser steps of all trials."""
        return sum(
            trial.last.step - first_step(trial.origin) for trial in self.trials if trial.last
        )


def main(
    options: Annotated[list[str] | None, typer.Argument(help="Options of the search.")] = None,
    *,
    seeds: Annotated[int, typer.Option(min=2, help="Searches.")] = 10,
    space: Annotated[str, typer.Option(help="Search space.")] = "arithmetic",
) -> None:
    """Run the searches and print their fronts."""
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="perft-fronts-") as folder:
        found = []
        for seed in range(seeds):
            found.append(_search(Path(folder), space, seed, options or []))
            console.print(f"seed {seed}: {found[-1].hypervolume:.3f}", highlight=False)
    console.print(_table(found))


def _search(folder: Path, space: str, seed: int, options: list[str]) -> Found:
    name = f"seed-{seed}"
    command = [sys.executable, str(REPOSITORY / "jobs" / "search.py"), "--space", space]
    command += ["--name", name, "--seed", str(seed), *options]
    start = time.monotonic()
    home = {**os.environ, "PERFT_HOME": str(folder)}
    home.pop("MLFLOW_TRACKING_URI", None)
    subprocess.run(command, check=True, env=home, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    return Found(seed, seconds, read_results(find_search(name, str(folder / "searches"))))


def _table(found: list[Found]) -> Table:
    table = Table(box=None, title="fronts of a search's defaults", title_justify="left")
    for title in ("seed", "hypervolume", "points", "trials", "complete", "steps", "seconds"):
        table.add_column(title, justify="right")
    table.add_column("front", overflow="fold")
    for each in found:
        outcomes = [trial.outcome for trial in each.trials]
        table.add_row(
            str(each.seed),
            f"{each.hypervolume:.3f}",
            str(len(pareto_front(each.trials))),
            str(len(outcomes)),
            str(outcomes.count("complete")),
            f"{each.steps:,}",
            f"{each.seconds:.0f}",
            each.front,
        )
    volumes = [each.hypervolume for each in found]
    error = stdev(volumes) / len(volumes) ** 0.5
    table.add_row("mean", f"{mean(volumes):.3f} ± {error:.3f}", *[""] * 4)
    table.add_row(
        "worst", f"{min(volumes):.3f}", str(min(len(pareto_front(e.trials)) for e in found))
    )
    return table


if __name__ == "__main__":
    typer.run(main)
