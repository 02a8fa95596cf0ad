"""One adapter scored on every benchmark of a data directory: in batches, and row by row.

`python benchmarks/score_benchmarks.py --data DIR`, a folder in the LLM-Adapters layout. Every row
is scored in batches, and of each benchmark a few rows once more one by one. Printed is the time of
both per row and of the whole folder, and in how many of those few the two outputs differ.
"""

import dataclasses
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from perft.config import RoutedConfig
from perft.evaluation import Prediction, predict, prompt_rows
from perft.injection import AdapterHost
from perft.models.load import Base, load_base
from perft.ranks import Ranks
from perft.tasks import Split, TaskSource, load_task

GROUPS = ("arithmetic", "commonsense")
NAME = "adapter"


def main(
    data: Annotated[str, typer.Option(help="Directory in the LLM-Adapters layout.")],
    alone: Annotated[
        int, typer.Option(min=1, help="Rows of each benchmark that are scored one by one.")
    ] = 20,
) -> None:
    """Score a fresh PERFT-R adapter of the built-in base."""
    console = Console()
    base = load_base()
    host = AdapterHost(base.model)
    host.add(NAME, RoutedConfig(rank=8, num_experts=4, top_k=2, init="perft"))
    splits = [
        split for group in GROUPS for split in load_task(TaskSource(name=group, data=data)).tests
    ]
    table = Table(box=None)
    for title in ("benchmark", "rows", "s", "ms per row", "one by one", "ratio"):
        table.add_column(title, justify="left" if title == "benchmark" else "right")
    total = one_by_one = 0.0
    differing = 0
    for split in track(splits, description="scoring", transient=True):
        seconds, batched = _timed(base, host, split)
        few = [dataclasses.replace(split, examples=(each,)) for each in split.examples[:alone]]
        singles = [_timed(base, host, each) for each in few]
        differing += sum(
            p[0].output != q.output for (_, p), q in zip(singles, batched, strict=False)
        )
        per_row, single = seconds / len(batched), sum(s for s, _ in singles) / len(few)
        total, one_by_one = total + seconds, one_by_one + single * len(batched)
        table.add_row(
            split.name,
            str(len(batched)),
            f"{seconds:.1f}",
            f"{1e3 * per_row:.1f}",
            f"{1e3 * single:.1f}",
            f"{single / per_row:.1f}",
        )
    console.print(table)
    console.print(
        f"the folder: {total:.0f} s; one by one it would be {one_by_one:.0f} s, "
        f"[bold]{one_by_one / total:.1f} times as long[/bold]; outputs that differ: {differing}",
        highlight=False,
    )


def _timed(base: Base, host: AdapterHost, split: Split) -> tuple[float, list[Prediction]]:
    """Seconds of scoring a split, tokenisation included, and its predictions."""
    start = time.perf_counter()
    found = predict(
        host,
        [NAME],
        split,
        prompts=prompt_rows(split, base.tokenizer, base.positions),
        tokenizer=base.tokenizer,
        ranks=Ranks(),
    )
    return time.perf_counter() - start, found[NAME]


if __name__ == "__main__":
    typer.run(main)
