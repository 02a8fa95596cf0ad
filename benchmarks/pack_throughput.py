"""Tokens per second and memory of a pack: against its trials one by one, and against the floor.

`python benchmarks/pack_throughput.py`, and again with `--ranks 2` for two gloo ranks that share a
sharded base. On the built-in base and on one of hidden size 512 with random weights. Ratios are
medians over turns in which packed, sequential and floor follow each other. A rank has one thread.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from gloo_ranks import on_ranks
from pack_sides import Size, Step, mixed
from rich.console import Console
from rich.table import Table
from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedModel
from turns import clock_of, ratio, seconds

from perft.config import AdapterConfig
from perft.models.load import load_base, make_ready
from perft.ranks import Ranks

BASES = ("built-in", "hidden 512")
COLUMNS = ("trials", "tokens/s", "of floor", "x sequential", "MB beyond base", "of trials alone")
ROWS, LENGTH = 16, 48


@dataclass(frozen=True)
class Job:
    """What is measured, and the file that rank 0 writes the table's rows to."""

    base: str
    counts: list[int]
    turns: int
    found: str


def main(
    base: Annotated[str, typer.Option(help=f"{' or '.join(BASES)}.")] = "hidden 512",
    ranks: Annotated[int, typer.Option(min=1, help="gloo ranks that share the base.")] = 1,
    trials: Annotated[str, typer.Option(help="Trials of a pack, one row each.")] = "1,2,4,8,16",
    turns: Annotated[int, typer.Option(min=1, help="Measured turns.")] = 3,
) -> None:
    """Measure packs of every size on one base."""
    if base not in BASES:
        raise typer.BadParameter(f"found base {base!r}, known are {', '.join(BASES)}")
    counts = [int(count) for count in trials.split(",")]
    table = Table(title=f"{base}, {ranks} rank(s), {ROWS} x {LENGTH} tokens a trial", box=None)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        job = Job(base, counts, turns, f"{folder}/rows")
        on_ranks(_measure, job, ranks)
        for row in json.loads(Path(job.found).read_text()):
            table.add_row(*row)
    Console().print(table)


def _measure(ranks: Ranks, job: Job) -> None:
    torch.manual_seed(0)
    model = base_model(job.base, ranks)
    rows = [_row(model, mixed(count), job.turns, ranks) for count in job.counts]
    if ranks.rank == 0:
        Path(job.found).write_text(json.dumps(rows))


def _row(
    model: PreTrainedModel, adapters: tuple[AdapterConfig, ...], turns: int, ranks: Ranks
) -> list[str]:
    """One line of the table, in the order of `COLUMNS`."""
    step = Step(model, Size(adapters, ROWS, LENGTH), ranks)
    took = seconds(step.sides(), turns, clock_of(ranks))
    tokens = step.real_tokens()
    step.close()
    together = _bytes(model, adapters, ranks)
    alone = sum(_bytes(model, (adapter,), ranks) for adapter in adapters)
    return [
        str(len(adapters)),
        f"{tokens / median(took['packed']):,.0f}",
        f"{ratio(took['floor'], took['packed']):.0%}",
        f"{ratio(took['sequential'], took['packed']):.2f}",
        f"{together / 1e6:,.0f}",
        f"{together / alone:.2f}",
    ]


def _bytes(model: PreTrainedModel, adapters: tuple[AdapterConfig, ...], ranks: Ranks) -> int:
    """What a step of all trials in one pass takes beyond the base."""
    step = Step(model, Size(adapters, ROWS, LENGTH), ranks, tokens=1 << 30)
    found = step.trained_bytes()
    step.close()
    return found


def base_model(name: str, ranks: Ranks) -> PreTrainedModel:
    """One of `BASES`, shared by the ranks."""
    if name == "built-in":
        return load_base(ranks=ranks).model
    model: PreTrainedModel = OlmoeForCausalLM(_wide())
    make_ready(model, ranks.device, ranks=ranks)
    return model


def _wide() -> OlmoeConfig:
    return OlmoeConfig(
        hidden_size=512, intermediate_size=256, num_experts=16, num_experts_per_tok=4,
        num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=8, vocab_size=8192,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
