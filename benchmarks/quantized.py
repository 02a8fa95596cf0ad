"""What a quantised base costs and saves: its bytes, a step's time, and what a trial learns on it.

`python benchmarks/quantized.py` trains the same trial on the built-in base in every precision, ten
steps of each in turns, and prints the bytes of the base, how many times as long as without
quantisation a step takes, and the validation loss at the end, for each seed. On a GPU the base runs
uncompiled in all of them.
"""

from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from turns import clock_of, ratio, seconds

from perft.config import RoutedConfig, TrainingConfig
from perft.models.load import load_base
from perft.models.precision import NONE, PRECISIONS
from perft.models.quantise import stored_bytes
from perft.ranks import Ranks
from perft.tasks import Task, TaskSource, load_task
from perft.training.pack import Pack
from perft.trial import Report, TrialConfig

NAME = "trial"
STEPS_AT_ONCE = 10
ADAPTER = RoutedConfig(rank=8, num_experts=4, top_k=2)


def main(
    steps: Annotated[int, typer.Option(min=20, help="Steps of each training.")] = 200,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings in each precision.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure all precisions."""
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = load_task(TaskSource(name="arithmetic", validation_size=400))
    packs = {each: _pack(task, device, each) for each in PRECISIONS}
    times: dict[str, list[float]] = {each: [] for each in PRECISIONS}
    losses: dict[str, list[float]] = {each: [] for each in PRECISIONS}
    for seed in range(seeds):
        taken = _train(packs, seed, steps)
        for each, pack in packs.items():
            times[each] += taken[each]
            losses[each].append(_loss(pack))
            pack.release(NAME)
    Console().print(_table(packs, times, losses))


def _pack(task: Task, device: torch.device, precision: str) -> Pack:
    base = load_base(device=device, compile=False, quantize=precision)
    return Pack(base, task, Ranks(device=device), rung_accuracy=False)


def _train(packs: dict[str, Pack], seed: int, steps: int) -> dict[str, list[float]]:
    """Seconds of every turn, in each precision."""
    training = TrainingConfig(lr=5e-3, max_steps=steps, seed=seed)
    for pack in packs.values():
        pack.admit(NAME, TrialConfig(ADAPTER, training))
    clock = clock_of(next(iter(packs.values())).ranks)
    sides = {each: lambda pack=pack: _go_on(pack) for each, pack in packs.items()}
    return seconds(sides, steps // STEPS_AT_ONCE - 1, clock)


def _go_on(pack: Pack) -> None:
    pack.train({NAME: pack.running[NAME].step + STEPS_AT_ONCE})


def _loss(pack: Pack) -> float:
    report = pack.report([NAME])[NAME]
    assert isinstance(report, Report), report
    return report.val_loss


def _table(
    packs: dict[str, Pack], times: dict[str, list[float]], losses: dict[str, list[float]]
) -> Table:
    table = Table(title="the built-in base in each precision", box=None)
    for column in ("precision", "base, MB", "of the layers", "a step", "validation loss by seed"):
        table.add_column(column, justify="right")
    whole = _bytes(packs[NONE], "layers")
    for each, pack in packs.items():
        table.add_row(
            each,
            f"{_bytes(pack) / 1e6:.2f}",
            f"{_bytes(pack, 'layers') / whole:.1%}",
            f"{ratio(times[each], times[NONE]):.2f} x",
            " ".join(f"{loss:.4f}" for loss in losses[each]),
        )
    return table


def _bytes(pack: Pack, part: str = "") -> int:
    named = pack.base.model.named_parameters()
    return sum(stored_bytes(weight) for name, weight in named if part in name)


if __name__ == "__main__":
    typer.run(main)
