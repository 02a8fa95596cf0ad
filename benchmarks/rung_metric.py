"""Which number at a rung foretells the final accuracy: validation loss or accuracy?

`python benchmarks/rung_metric.py`. Trials drawn at random from the arithmetic space are trained to
their full length; printed is the rank correlation (Spearman's) of what a rung shows with the final
validation accuracy, over the trials.
"""

from collections.abc import Sequence
from statistics import correlation
from typing import Annotated

import numpy as np
import optuna
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from perft.models.load import load_base
from perft.ranks import Ranks
from perft.search.space import Draw, find_space
from perft.tasks import TaskSource, load_task
from perft.training.pack import Pack
from perft.trial import Report

TOGETHER = 4
"""Trials that are trained together."""


def main(
    num_trials: Annotated[int, typer.Option(min=3, help="Trials.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
) -> None:
    """Train the trials and print how well each number ranks them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draw = Draw(find_space("arithmetic"), True, seed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    configs = {str(number): draw(study.ask()) for number in range(num_trials)}
    pack = Pack(load_base(), load_task(TaskSource(name="arithmetic", seed=seed)), Ranks())
    reports: dict[str, list[Report]] = {}
    names = list(configs)
    for first in track(range(0, num_trials, TOGETHER), description="training", transient=True):
        some = names[first : first + TOGETHER]
        for name in some:
            pack.admit(name, configs[name])
        for rung in draw.rungs():
            pack.advance(dict.fromkeys(some, rung))
        for name in some:
            reports[name] = list(pack.running[name].reports)
            pack.release(name)
    Console().print(_table(list(reports.values())))


def _table(trials: Sequence[Sequence[Report]]) -> Table:
    table = Table(title="rank correlation with the final accuracy", title_justify="left", box=None)
    for title in ("step", "validation loss", "accuracy of as many examples as a rung scores"):
        table.add_column(title, justify="right")
    final = [reports[-1].accuracy for reports in trials]
    for at in zip(*(reports[:-1] for reports in trials), strict=True):
        by_loss = _spearman([-report.val_loss for report in at], final)
        by_accuracy = _spearman([report.accuracy for report in at], final)
        table.add_row(str(at[0].step), f"{by_loss:.2f}", f"{by_accuracy:.2f}")
    return table


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    """Places in ascending order; equal values share the mean of theirs."""
    return [
        float(np.mean([v < value for v in values]) + np.mean([v <= value for v in values]))
        for value in values
    ]


if __name__ == "__main__":
    typer.run(main)
