"""The engine's own time per trial: a whole search in which a training step takes no time.

`python benchmarks/engine_overhead.py --num-trials 1000`. Tune, Optuna, ASHA, MLflow, the rounds and
the thin trials are real; instead of worker groups, one thread answers every assignment at once.
Prints the seconds per trial, early and late in the search, and the memory of a thin trial.
"""

import math
import os
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Annotated, Any
from unittest.mock import patch

import psutil
import ray
import typer
from rich.console import Console
from rich.table import Table

from perft.base_score import BaseScore
from perft.packing.coordinator import Coordinator
from perft.packing.groups import calls_at_once
from perft.packing.handle import CoordinatorHandle
from perft.packing.messages import Assignment, BatchResult, NotDue, Reported, Scored
from perft.packing.settings import WorkSettings
from perft.packing.shape import GroupShape
from perft.searching import run, trials
from perft.searching.ledger import Ledger
from perft.searching.prepare import SearchRequest, prepare
from perft.searching.stages import Stages
from perft.trial import AdapterSize, AnswerCount, Report

PARTS = 4
"""The search's trials are timed in so many equal parts."""

BASE = BaseScore(objective="sft", val_loss=1.0)
SIZE = AdapterSize(trainable=1000, activated=500, base_activated=100_000)


class StubGroups:
    """Stands in for the worker groups: every trial reports at once, with a made-up loss."""

    def __init__(
        self, shape: GroupShape, num_trials: int, rungs: tuple[int, ...], work: WorkSettings
    ) -> None:
        self.shape = shape
        self.name = "perft-stub-coordinator"
        self.namespace: str = ray.get_runtime_context().namespace
        calls = calls_at_once(shape)
        actor = ray.remote(num_cpus=0, max_concurrency=calls)(Coordinator)
        self.coordinator = CoordinatorHandle(
            actor.options(name=self.name).remote(shape.groups, shape.slots, num_trials, rungs)
        )
        self._threads = [
            threading.Thread(target=self._work, args=(index,), daemon=True)
            for index in range(shape.groups)
        ]
        for thread in self._threads:
            thread.start()

    def steps(self) -> dict[int, int]:
        """As of the real ones."""
        return {}

    def stop(self, _patience: float = 0.0) -> None:
        """Ends the threads, and the coordinator with them."""
        self.coordinator.stop()
        for thread in self._threads:
            thread.join()
        self.coordinator.kill()

    def _work(self, group: int) -> None:
        self.coordinator.attach(group)
        results = None
        while not (work := self.coordinator.next_work(group, results)).stop:
            results = {each.trial: _answer(each) for each in work.assignments} or None
            if work.to_score:
                scores = {n: {"test": AnswerCount(1, 2)} for n in work.to_score.trials}
                self.coordinator.scored(
                    Scored(trials=scores, base=BASE if work.to_score.base else None)
                )


def _answer(assignment: Assignment) -> BatchResult:
    if not assignment.due:
        return NotDue(assignment.target)
    lr = assignment.config.training.lr
    loss = abs(math.log10(lr) + 2.0) + 1.0 / assignment.target
    report = Report(
        step=assignment.target, train_loss=loss, val_loss=loss, correct=50, scored=100, lr=lr,
        tokens_per_second=1.0,
    )  # fmt: skip
    return Reported(report, SIZE)


class TimedLedger(Ledger):
    """Notes when each trial ended, and what the thin trials take at most."""

    ends: list[float] = []  # noqa: RUF012 - read when the one search is over
    memory: float = 0.0

    def end(self, number: int, error: str | None = None) -> Any:
        """As the ledger's."""
        entry = super().end(number, error)
        self.ends.append(time.monotonic())
        if len(self.ends) % 20 == 1:
            TimedLedger.memory = max(self.memory, *_thin_trials())
        return entry


def _thin_trials() -> list[float]:
    """Memory of each thin trial that only it uses, MB."""
    children = psutil.Process().children(recursive=True)
    names = ("ray::ThinTrial", "ray::ResourceTrainable")
    found = [child for child in children if " ".join(child.cmdline()).startswith(names)]
    return [child.memory_full_info().uss / 1e6 for child in found] or [0.0]


def main(
    num_trials: Annotated[int, typer.Option(min=PARTS, help="Trials.")] = 1000,
    slots: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 4,
) -> None:
    """Run the search and print what a trial costs."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="perft-engine-") as folder:
        os.environ.update(PERFT_HOME=folder, RAY_USAGE_STATS_ENABLED="0")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        request = SearchRequest(
            space="arithmetic",
            name="engine",
            num_trials=num_trials,
            storage=folder,
            groups=1,
            slots=slots,
        )
        start = time.monotonic()
        with (
            patch.object(trials, "WorkerGroups", StubGroups),
            patch.object(run, "Ledger", TimedLedger),
            Path(os.devnull).open("w") as nowhere,
        ):
            run.run_search(prepare(request), Stages(Console(file=nowhere)))
        console.print(_table(start), f"the whole search: {time.monotonic() - start:.0f} s")
        console.print(f"memory of one thin trial, its own: {TimedLedger.memory:.0f} MB")


def _table(start: float) -> Table:
    table = Table(title="seconds per trial", title_justify="left", box=None)
    table.add_column("trials that ended")
    table.add_column("s", justify="right")
    gaps = [b - a for a, b in pairwise([start, *TimedLedger.ends])][1:]
    length = len(gaps) // PARTS
    for i in range(PARTS):
        part = gaps[i * length : (i + 1) * length]
        table.add_row(f"{1 + i * length} to {(i + 1) * length}", f"{mean(part):.2f}")
    return table


if __name__ == "__main__":
    typer.run(main)
