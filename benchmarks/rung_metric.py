"""Which number at a rung predicts the final accuracy: validation loss or accuracy, of how many?

`python benchmarks/rung_metric.py --space arithmetic`. Trials drawn at random from a space are
trained to their full length; printed is the rank correlation (Spearman's) of what a rung shows with
the final validation accuracy, over the trials: of the loss and the accuracy of as many validation
examples as a rung has, and of all of them.
"""

from collections.abc import Sequence
from typing import Annotated

import optuna
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from perft.evaluation import predict, validate
from perft.models.load import load_base
from perft.ranks import Ranks
from perft.searching.extent import extent_of
from perft.searching.space import Draw, find_space
from perft.tasks import load_task
from perft.training.pack import RUNG_EXAMPLES, Pack

TOGETHER = 4
"""Trials that are trained together."""

Numbers = dict[str, float]
"""What a rung could show of a trial; more is better."""


def main(
    space: Annotated[str, typer.Option(help="Search space that the trials are of.")] = "arithmetic",
    num_trials: Annotated[int, typer.Option(min=3, help="Trials.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
) -> None:
    """Train the trials and print how well each number ranks them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = find_space(space)
    draw = Draw(found, True, seed)
    rungs = found.steps_of_rungs(extent_of(draw).max_steps)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    configs = {str(number): draw(study.ask()) for number in range(num_trials)}
    pack = Pack(load_base(), load_task(found.source(None, 400, seed)), Ranks())
    numbers: dict[str, list[Numbers]] = {name: [] for name in configs}
    names = list(configs)
    for first in track(range(0, num_trials, TOGETHER), description="training", transient=True):
        some = names[first : first + TOGETHER]
        for name in some:
            pack.admit(name, configs[name])
        for rung in rungs:
            pack.train(dict.fromkeys(some, rung))
            for name, shown in _numbers(pack, some).items():
                numbers[name].append(shown)
        for name in some:
            pack.release(name)
    console = Console()
    final = sorted(round(100 * shown[-1][_ALL_RIGHT]) for shown in numbers.values())
    console.print(f"final accuracies, %: {' '.join(map(str, final))}", highlight=False)
    console.print(_table(rungs, list(numbers.values())))


_ALL_RIGHT = "accuracy, all"


def _numbers(pack: Pack, names: Sequence[str]) -> dict[str, Numbers]:
    """The losses and accuracies of trials where they are."""
    split, pad = pack.task.validation, pack.base.tokenizer.pad_token_id
    assert isinstance(pad, int)
    everything = len(split.examples)
    predictions = predict(
        pack.host,
        names,
        split,
        prompts=pack.rows.prompts(split),
        tokenizer=pack.base.tokenizer,
        ranks=Ranks(),
    )
    shown: dict[str, Numbers] = {name: {} for name in names}
    for count, label in ((RUNG_EXAMPLES, str(RUNG_EXAMPLES)), (everything, "all")):
        rows = [pack.rows.validation(_length(pack, names)).row(i) for i in range(count)]
        for name, loss in validate(pack.host, names, rows, pad, Ranks()).loss.items():
            shown[name][f"loss, {label}"] = -loss
            correct = sum(each.correct for each in predictions[name][:count])
            shown[name][f"accuracy, {label}"] = correct / count
    return shown


def _length(pack: Pack, names: Sequence[str]) -> int:
    return max(pack.running[name].config.training.max_length for name in names)


def _table(rungs: Sequence[int], trials: Sequence[Sequence[Numbers]]) -> Table:
    table = Table(title="rank correlation with the final accuracy", title_justify="left", box=None)
    table.add_column("step", justify="right")
    for label in trials[0][0]:
        table.add_column(label, justify="right")
    final = [shown[-1][_ALL_RIGHT] for shown in trials]
    for i, rung in enumerate(rungs[:-1]):
        table.add_row(
            str(rung),
            *(
                f"{spearmanr([shown[i][label] for shown in trials], final).statistic:.2f}"
                for label in trials[0][0]
            ),
        )
    return table


if __name__ == "__main__":
    typer.run(main)
