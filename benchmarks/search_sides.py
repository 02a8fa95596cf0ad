"""Shared code of the benchmarks of whole searches: perft's side, and the comparison of sides."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.selection import read_results
from perft.tasks import TaskSource
from perft.trial import Report, TrialConfig

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "makespan"
SAME_RULE = (
    "--objective", "loss", "--sampler", "tpe", "--pruner", "asha", "--second-chances", "0",
)  # fmt: skip
"""Options that make a search decide as the other sides do."""
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


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for everything that both sides write; nothing of the user's is touched."""
    with tempfile.TemporaryDirectory(prefix="perft-makespan-") as folder:
        os.environ.update(PERFT_HOME=folder, RAY_USAGE_STATS_ENABLED="0")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield Path(folder)


def run_search(folder: Path, options: Sequence[str], console: Console) -> Side:
    """Runs `jobs/search.py` and reads the clock whenever it says that a stage begins."""
    command = [sys.executable, str(REPOSITORY / "jobs" / "search.py"), "--name", NAME, *options]
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
    results = read_results(find_search(NAME, str(folder / "searches")))
    return Side(end - start, phases, {result.number: result.reports for result in results})


def drawn(folder: Path) -> tuple[list[TrialConfig], dict[str, Any], TaskSource]:
    """The configurations that perft's search drew, its settings and its task."""
    search = find_search(NAME, str(folder / "searches"))
    settings = SearchSettings.read(search)
    source = TaskSource(
        name=settings.task,
        data=settings.data,
        validation_size=settings.validation_size,
        seed=settings.seed,
    )
    return [result.config for result in read_results(search)], settings.to_json(), source


def differences(ours: Side, stock: Side) -> list[float]:
    """Between the validation losses that both sides reported for one trial and step."""
    losses = {(n, r.step): r.val_loss for n, reports in ours.reports.items() for r in reports}
    return [
        abs(losses[number, report.step] - report.val_loss)
        for number, reports in stock.reports.items()
        for report in reports
        if (number, report.step) in losses
    ]


def phase_table(title: str, side: Side) -> Table:
    """Seconds of a side, by phase."""
    table = Table(title=title, title_justify="left", box=None, show_footer=True)
    table.add_column("where the time went", footer="all")
    table.add_column("seconds", footer=f"{side.seconds:.1f}", justify="right")
    for phase, seconds in side.phases.items():
        table.add_row(phase, f"{seconds:.1f}")
    return table
