"""How well packs use a GPU: OLMoE-1B-7B's geometry with random bf16 weights, without Ray.

`python benchmarks/gpu_pack.py`. For 1 to 16 trials of short and of long rows: the time of a step
and how much of it the host takes to issue it, its launches, tokens per second, the share of the
card's matrix rate, which is measured first, and of the floor (`pack_sides.py`), packed over
sequential, and the memory beyond the base's weights and what is kept of the adapters.
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Annotated

import torch
import typer
from card import SIZE, TINY_SIZE, described, device_for, host_seconds, launches, matrix_rate
from pack_sides import Size, Step, clock_of, mixed, ratio, seconds
from random_base import GEOMETRY, TINY_GEOMETRY
from rich.console import Console
from rich.table import Table
from transformers import OlmoeConfig, OlmoeForCausalLM

from perft.ranks import Ranks

COLUMNS = (
    "trials", "passes", "ms/step", "host ms", "launches", "tokens/s", "of matrix rate", "of floor",
    "x sequential", "GB beyond",
)  # fmt: skip


def main(
    *,
    trials: Annotated[str, typer.Option(help="Trials of a pack, one row each.")] = "1,2,4,8,16",
    rows: Annotated[int, typer.Option(min=1, help="Rows of a trial's batch.")] = 16,
    lengths: Annotated[str, typer.Option(help="Longest rows, tokens; a table each.")] = "96,256",
    turns: Annotated[int, typer.Option(min=1, help="Measured turns.")] = 5,
    checkpointing: Annotated[bool, typer.Option("--checkpointing")] = False,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A tiny base on the CPU: shows that it runs.")
    ] = False,
) -> None:
    """Measure packs of every size on this machine's GPU."""
    device = device_for(tiny=tiny)
    console = Console(width=120)
    console.print(described(device), highlight=False)
    rate = matrix_rate(device, TINY_SIZE if tiny else SIZE)
    console.print(f"{rate / 1e12:.3g} TFLOP/s in bf16 products", highlight=False)
    model = random_model(TINY_GEOMETRY if tiny else GEOMETRY, device)
    for length in map(int, lengths.split(",")):
        sizes = [Size(mixed(int(count)), rows, length) for count in trials.split(",")]
        table = Table(title=f"{rows} x {length} tokens a trial", box=None)
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for row in measure(model, sizes, rate, turns, checkpointing=checkpointing):
            table.add_row(*row)
        console.print(table)


def random_model(config: OlmoeConfig, device: torch.device) -> OlmoeForCausalLM:
    """A base with random weights in bf16."""
    torch.manual_seed(0)
    with device:
        return OlmoeForCausalLM._from_config(config, dtype=torch.bfloat16).eval()


def measure(
    model: OlmoeForCausalLM,
    sizes: Sequence[Size],
    rate: float,
    turns: int,
    *,
    checkpointing: bool = False,
) -> Iterator[list[str]]:
    """The rows of the table, in the order of `COLUMNS`.

    Args:
        model: the base.
        sizes: of the packs.
        rate: the device's matrix rate, FLOP/s.
        turns: measured turns of each side.
        checkpointing: whether the base's layers run again in the backward pass.
    """
    ranks = Ranks(device=model.device)
    for size in sizes:
        step = Step(model, size, ranks, checkpointing=checkpointing)
        passes = step.fit()
        beyond = step.step_bytes()
        took = seconds(step.sides(), turns, clock_of(ranks))
        tokens, second = step.real_tokens(), median(took["packed"])
        # Two FLOP per weight and token forward, two backward: the frozen weights have no gradient.
        share = 4 * step.host.base_activated * tokens / second / rate
        yield [
            str(len(size.adapters)),
            str(passes),
            f"{1e3 * second:.1f}",
            f"{1e3 * host_seconds(step.packed, ranks.device, turns):.1f}",
            f"{launches(step.packed, ranks.device):,}",
            f"{tokens / second:,.0f}",
            f"{share:.1%}",
            f"{ratio(took['floor'], took['packed']):.0%}",
            f"{ratio(took['sequential'], took['packed']):.2f}",
            f"{beyond / 1e9:.2f}",
        ]
        step.close()


if __name__ == "__main__":
    typer.run(main)
