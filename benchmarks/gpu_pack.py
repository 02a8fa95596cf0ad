"""How well packs use a GPU: OLMoE-1B-7B's geometry with random bf16 weights, without Ray.

`python benchmarks/gpu_pack.py`. For packs of 1 to 16 trials of short and of long rows, with the
base eager, compiled, and compiled with micro-batches captured, as a GPU trains them: the time of a
step and how much of it the host takes to issue it, its launches, tokens per second, the share of
the card's matrix rate, which is measured first, and of the floor (`pack_sides.py`), packed over
sequential, and the memory beyond the base's weights and what is kept of the adapters: of tensors,
and held by the allocator. `first s` is the first step, in which everything compiles that has not
yet. The last table varies the tokens of a micro-batch; `tokens/pass` is what they have become.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import Annotated

import torch
import typer
from card import SIZE, TINY_SIZE, described, device_for, host_seconds, launches, matrix_rate
from pack_sides import AS_TRAINED, COMPILED, EAGER, Size, Step, Way, mixed
from random_base import GEOMETRY, TINY_GEOMETRY, drawn
from rich.console import Console
from rich.table import Table
from transformers import OlmoeConfig, OlmoeForCausalLM
from turns import clock_of, ratio, seconds

from perft.models.capture import capture_for
from perft.models.compilers import missing_compiler
from perft.models.load import make_ready
from perft.ranks import Ranks

COLUMNS = (
    "trials", "micro-batches", "tokens/pass", "ms/step", "host ms", "launches", "tokens/s",
    "of matrix rate", "of floor", "x sequential", "GB beyond", "GB held", "first s",
)  # fmt: skip
DEFAULTS, TINY_DEFAULTS = ("1,2,4,8,16", "96,256", "4096,8192,16384,32768"), ("1,2", "16", "512")
"""Trials, lengths, tokens of a micro-batch; a CPU takes half a minute to compile a shape."""
TRIALS_OF_PASSES = 8
"""Trials of the last table."""


def main(
    *,
    trials: Annotated[
        str | None, typer.Option(help="Trials of a pack, one row each.", show_default=DEFAULTS[0])
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a trial's batch.")] = 16,
    lengths: Annotated[
        str | None, typer.Option(help="Longest rows, tokens.", show_default=DEFAULTS[1])
    ] = None,
    microbatches: Annotated[
        str | None,
        typer.Option(help="Tokens of a micro-batch in the last table.", show_default=DEFAULTS[2]),
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="Measured turns.")] = 3,
    checkpointing: Annotated[bool, typer.Option("--checkpointing")] = False,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A tiny base on the CPU: shows that it runs.")
    ] = False,
) -> None:
    """Measure packs of every size on this machine's GPU."""
    device = device_for(tiny=tiny)
    console = Console(width=150)
    console.print(described(device), highlight=False)
    rate = matrix_rate(device, TINY_SIZE if tiny else SIZE)
    console.print(f"{rate / 1e12:.3g} TFLOP/s in bf16 products", highlight=False)
    missing = missing_compiler(device.type)
    if missing:
        console.print(f"nothing is compiled: {missing} is not there", highlight=False)
    model = random_model(TINY_GEOMETRY if tiny else GEOMETRY, device, compile=not missing)
    ways = ways_on(device, compiles=not missing)
    counts, longest, limits = (
        [int(number) for number in (default if given is None else given).split(",")]
        for given, default in zip(
            (trials, lengths, microbatches), TINY_DEFAULTS if tiny else DEFAULTS, strict=True
        )
    )
    start = time.monotonic()

    def show(title: str, sizes: Sequence[tuple[Size, int | None]], way: Way) -> None:
        table = Table(title=f"{title}, {way.name}", title_justify="left", box=None)
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for size, tokens in sizes:
            step = Step(
                model,
                size,
                Ranks(device=device),
                way=way,
                checkpointing=checkpointing,
                tokens=tokens,
            )
            table.add_row(*measure(step, rate, turns))
            step.close()
        console.print(table)
        console.print(f"{time.monotonic() - start:.0f} s so far", highlight=False)

    for length in longest:
        sizes = [(Size(mixed(count), rows, length), None) for count in counts]
        for way in ways:
            show(f"{rows} x {length} tokens a trial", sizes, way)
    show(
        f"{TRIALS_OF_PASSES} x {rows} x {max(longest)} tokens in micro-batches of several sizes",
        [(Size(mixed(TRIALS_OF_PASSES), rows, max(longest)), tokens) for tokens in limits],
        ways[-1],
    )


def ways_on(device: torch.device, *, compiles: bool) -> list[Way]:
    """How a base can run on a device; the last is how it trains."""
    found = [EAGER]
    if compiles:
        found.append(COMPILED)
    if capture_for(device) is not None:
        found.append(AS_TRAINED)
    return found


def random_model(config: OlmoeConfig, device: torch.device, *, compile: bool) -> OlmoeForCausalLM:
    """A base with random weights in bf16, which runs as one that was loaded."""
    model = drawn(config, device)
    make_ready(model, device, compile=compile)
    return model


def measure(step: Step, rate: float, turns: int) -> list[str]:
    """A row of the table, in the order of `COLUMNS`.

    Args:
        step: fresh.
        rate: the device's matrix rate, FLOP/s.
        turns: measured turns of each side.
    """
    device = step.ranks.device
    clock = clock_of(step.ranks)
    start = clock()
    step.packed()
    if device.type == "cuda":
        torch.cuda.synchronize()
    first = clock() - start
    beyond = step.step_bytes()
    step.settle()
    took = seconds(step.sides(), turns, clock)
    tokens, second = step.real_tokens(), median(took["packed"])
    microbatches, host = step.microbatches(), host_seconds(step.packed, device, turns)
    with step.counted():
        asked = launches(step.packed, device)
    # Two FLOP per weight and token forward, two backward: the frozen weights have no gradient.
    share = 4 * step.host.base_activated * tokens / second / rate
    return [
        str(len(step.batches)),
        str(len(microbatches)),
        f"{max(one.shape.rows * one.shape.length for one in microbatches if one.shape):,}",
        f"{1e3 * second:.1f}",
        f"{1e3 * host:.1f}",
        f"{asked:,}",
        f"{tokens / second:,.0f}",
        f"{share:.1%}",
        f"{ratio(took['floor'], took['packed']):.0%}",
        f"{ratio(took['sequential'], took['packed']):.2f}",
        f"{beyond.live / 1e9:.2f}",
        f"{beyond.held / 1e9:.2f}",
        f"{first:.1f}",
    ]


if __name__ == "__main__":
    typer.run(main)
