"""How fast a GPU generates for many trials: OLMoE-1B-7B's geometry with random bf16 weights.

`python benchmarks/gpu_generate.py`. For rows and trials: milliseconds of a decode step with a cache
that grows, in fixed memory, and captured; tokens per second; and the seconds of a rung. `--tiny`
takes a base of a few thousand parameters, on a CPU too, where nothing is captured.
"""

from collections.abc import Callable
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from card import described
from pack_sides import mixed
from random_base import GEOMETRY, TINY_GEOMETRY, drawn
from rich.console import Console
from rich.table import Table
from transformers import OlmoeConfig, PreTrainedModel
from turns import clock_of, seconds

from perft.errors import ConfigError
from perft.evaluation import Opening, generate
from perft.evaluation.decoding import Decoder, DecoderSettings, Openings
from perft.evaluation.fixed import FixedCacheDecoder
from perft.evaluation.growing import GrowingCacheDecoder
from perft.injection import AdapterHost
from perft.models.capture import Capture, capture_for
from perft.models.load import make_ready
from perft.ranks import Ranks

COLUMNS = (
    "trials", "rows", "growing ms", "fixed ms", "captured ms", "tokens/s", "x growing", "x fixed",
)  # fmt: skip
PAD, EOS = 0, 1


def main(
    *,
    trials: Annotated[str, typer.Option(help="Trials, of each a table's rows.")] = "1,8",
    rows: Annotated[str, typer.Option(help="Rows of all trials together.")] = "40,400",
    prompt: Annotated[int, typer.Option(min=2, help="Longest prompt, tokens.")] = 192,
    room: Annotated[int, typer.Option(min=1, help="New tokens of a rung's row.")] = 256,
    examples: Annotated[int, typer.Option(min=1, help="Examples of a rung.")] = 100,
    steps: Annotated[int, typer.Option(min=3, help="Decode steps of a measured turn.")] = 16,
    turns: Annotated[int, typer.Option(min=1, help="Measured turns.")] = 5,
    tiny: Annotated[bool, typer.Option("--tiny", help="A tiny base, on any device.")] = False,
) -> None:
    """Measure decode steps and a rung on this machine's GPU."""
    if not (tiny or torch.cuda.is_available()):
        raise ConfigError("found no CUDA device; run it where there is one, or with --tiny")
    console = Console()
    device = torch.device(_device())
    console.print(described(device), highlight=False)
    model = base_of(TINY_GEOMETRY if tiny else GEOMETRY, device)
    table = Table(title=f"A decode step after {prompt} tokens", box=None)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    wanted = [(int(t), int(r)) for t in trials.split(",") for r in rows.split(",")]
    for count, all_rows in wanted:
        table.add_row(*measure(model, count, all_rows, prompt=prompt, steps=steps, turns=turns))
    console.print(table)
    most = max(count for count, _ in wanted)
    took = seconds_of_rung(model, most, examples, prompt, room)
    console.print(
        f"a rung of {examples} examples for {most} trials, {room} new tokens each: {took:.1f} s",
        highlight=False,
    )


def base_of(config: OlmoeConfig, device: torch.device) -> PreTrainedModel:
    """A base with random weights, in bf16."""
    model = drawn(config, device)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[EOS] = 0  # never the most likely, so every row uses all its room
    make_ready(model, device)
    return model


def measure(
    model: PreTrainedModel, trials: int, rows: int, *, prompt: int, steps: int, turns: int
) -> list[str]:
    """One row of the table, in the order of `COLUMNS`.

    Args:
        model: the base.
        trials: how many, with adapters that differ.
        rows: of all trials together.
        prompt: tokens of the longest prompt.
        steps: decode steps of a turn.
        turns: measured turns of each side.
    """
    host = host_of(model, trials)
    tokens = steps * (turns + 1)
    openings = openings_of(host, -(-rows // trials), prompt, tokens)
    count = sum(map(len, openings.values()))
    # One side after the other: of the cache of many rows, memory may not hold three.
    took = {
        name: _seconds_of_step(make(host, openings, count), openings, steps, turns)
        for name, make in _sides(model.device).items()
    }
    best = took.get("captured", took["fixed"])
    remove_all(host)
    return [
        str(trials),
        str(count),
        *(f"{1e3 * took[side]:.1f}" if side in took else "-" for side in _SIDES),
        f"{count / best:,.0f}",
        f"{took['growing'] / best:.2f}",
        f"{took['fixed'] / best:.2f}",
    ]


_SIDES = ("growing", "fixed", "captured")
_Make = Callable[[AdapterHost, Openings, int], Decoder]


def _sides(device: torch.device) -> dict[str, _Make]:
    def growing(host: AdapterHost, openings: Openings, rows: int) -> Decoder:
        return GrowingCacheDecoder(
            host, openings, DecoderSettings(PAD, EOS, rows), Ranks(device=device)
        )

    def fixed(capture: Capture) -> _Make:
        # A bucket's rows are somewhat more than there are.
        return lambda host, openings, rows: FixedCacheDecoder(
            host, openings, DecoderSettings(PAD, EOS, 2 * rows), capture
        )

    sides: dict[str, _Make] = {"growing": growing, "fixed": fixed(lambda step: step)}
    if capture := capture_for(device):
        sides["captured"] = fixed(capture)
    return sides


@torch.no_grad()
def _seconds_of_step(decoder: Decoder, openings: Openings, steps: int, turns: int) -> float:
    if len(decoder.batches) > 1:
        raise ConfigError("the rows do not fit the memory at once; lower --rows or --prompt")
    decoder.start(openings, steps * (turns + 1))
    ranks = Ranks(device=torch.device(_device()))
    took = seconds({"step": lambda: decoder.advance(steps)}, turns, clock_of(ranks))
    return median(took["step"]) / steps


def seconds_of_rung(
    model: PreTrainedModel, trials: int, examples: int, prompt: int, room: int
) -> float:
    """Seconds of generating the answers to so many examples, of each trial, with captures."""
    host = host_of(model, trials)
    openings = openings_of(host, examples, prompt, room)
    ranks = Ranks(device=model.device)
    clock = clock_of(ranks)
    start = clock()
    generate(host, openings, pad=PAD, eos=EOS, ranks=ranks)
    took = clock() - start
    remove_all(host)
    return took


def host_of(model: PreTrainedModel, trials: int) -> AdapterHost:
    """A host with the adapters of so many trials."""
    host = AdapterHost(model)
    for i, config in enumerate(mixed(trials)):
        host.add(f"trial-{i}", config, seed=i)
    return host


def remove_all(host: AdapterHost) -> None:
    """Leaves the base as it was."""
    for name in list(host.configs):
        host.remove(name)


def openings_of(host: AdapterHost, rows: int, prompt: int, room: int) -> dict[str, list[Opening]]:
    """Random prompts of half to the full length, the same for every adapter."""
    rng = np.random.default_rng(0)
    vocabulary = host.model.config.vocab_size
    lengths = rng.integers(prompt // 2, prompt, rows, endpoint=True)
    lengths[0] = prompt
    some = [Opening(rng.integers(2, vocabulary, n).astype(np.int32), room) for n in lengths]
    return dict.fromkeys(host.configs, some)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    typer.run(main)
