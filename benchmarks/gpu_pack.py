"""How well packs use a GPU: OLMoE-1B-7B's geometry with random bf16 weights, without Ray.

`python benchmarks/gpu_pack.py`. For 1 to 16 trials: seconds of a step, tokens per second, the share
of the card's matrix rate, which is measured first, the memory, and packed over sequential.
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Annotated

import torch
import typer
from pack_sides import Size, Step, clock_of, mixed, ratio, seconds
from rich.console import Console
from rich.table import Table
from transformers import OlmoeConfig, OlmoeForCausalLM

from perft.errors import ConfigError
from perft.ranks import Ranks

COLUMNS = (
    "trials", "s/step", "tokens/s", "of matrix rate", "of floor", "x sequential", "GB beyond base",
)  # fmt: skip


def main(
    trials: Annotated[str, typer.Option(help="Trials of a pack, one row each.")] = "1,2,4,8,16",
    rows: Annotated[int, typer.Option(min=1, help="Rows of a trial's batch.")] = 16,
    length: Annotated[int, typer.Option(min=8, help="Longest row, tokens.")] = 256,
    turns: Annotated[int, typer.Option(min=1, help="Measured turns.")] = 5,
    checkpointing: Annotated[bool, typer.Option("--checkpointing")] = False,
) -> None:
    """Measure packs of every size on this machine's GPU."""
    if not torch.cuda.is_available():
        raise ConfigError("found no CUDA device, and this measures one; run it where there is one")
    device = torch.device("cuda")
    rate = matrix_rate(device, 8192)
    console = Console()
    console.print(f"{torch.cuda.get_device_name()}: {rate / 1e12:.0f} TFLOP/s in bf16 products")
    # The numbers of OLMoE-1B-7B-0924's config.json; the others are the defaults of the family.
    config = OlmoeConfig(vocab_size=50304, intermediate_size=1024, pad_token_id=1)
    sizes = [Size(mixed(int(count)), rows, length) for count in trials.split(",")]
    table = Table(title=f"{rows} x {length} tokens a trial", box=None)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in measure(config, sizes, device, rate, turns, checkpointing=checkpointing):
        table.add_row(*row)
    console.print(table)


def measure(
    config: OlmoeConfig,
    sizes: Sequence[Size],
    device: torch.device,
    rate: float,
    turns: int,
    *,
    checkpointing: bool = False,
) -> Iterator[list[str]]:
    """The rows of the table, in the order of `COLUMNS`.

    Args:
        config: the base's; its weights are random, in bf16.
        sizes: of the packs.
        device: where to.
        rate: the device's matrix rate, FLOP/s.
        turns: measured turns of each side.
        checkpointing: whether the base's layers run again in the backward pass.
    """
    torch.manual_seed(0)
    with device:
        model = OlmoeForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
    ranks = Ranks(device=device)
    for size in sizes:
        step = Step(model, size, ranks, checkpointing=checkpointing)
        beyond = step.trained_bytes()
        took = seconds(step.sides(), turns, clock_of(ranks))
        tokens, second = step.real_tokens(), median(took["packed"])
        # Two FLOP per weight and token forward, two backward: the frozen weights have no gradient.
        share = 4 * step.host.base_activated * tokens / second / rate
        yield [
            str(len(size.adapters)),
            f"{second:.3f}",
            f"{tokens / second:,.0f}",
            f"{share:.1%}",
            f"{ratio(took['floor'], took['packed']):.0%}",
            f"{ratio(took['sequential'], took['packed']):.2f}",
            f"{beyond / 1e9:.2f}",
        ]
        step.close()


def matrix_rate(device: torch.device, size: int) -> float:
    """FLOP/s of products of square bf16 matrices."""
    one, other = torch.randn(2, size, size, device=device).to(torch.bfloat16)
    took = seconds({"product": lambda: one @ other}, 20, clock_of(Ranks(device=device)))
    return 2.0 * size**3 / median(took["product"])


if __name__ == "__main__":
    typer.run(main)
