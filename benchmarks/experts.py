"""The experts of a frozen base: ours against transformers' grouped product, and LoRA on them.

`python benchmarks/experts.py`, with `--dtype bfloat16`, with `--compile`. One MoE block with random
weights, forward and backward, with a gradient at its input. By default it has half of OLMoE-1B-7B's
widths; on a GPU, its own. LoRA of rank 16 is on all experts: computed with (expert, adapter) pairs,
and with W + BA in place of every W, which is done only where nothing else is possible.

`kept` is the memory that the forward pass keeps for the backward pass, `peak` the largest at any
time, both beyond input and parameters. `flops` are computed: those of the products with W, with A
and B, and those of W + BA and its gradients. On the CPU it measures one thread's CPU time. All rows
of a table run in turns.
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Literal
from unittest import mock

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForCausalLM, OlmoeConfig, PreTrainedModel

from perft.config import LoraExpertsConfig
from perft.injection import AdapterHost, BatchLayout, fused, rows_of
from perft.models.blocks import find_moe_blocks
from perft.models.experts import use_frozen_experts
from perft.training.live_bytes import LiveBytes

ADAPTERS, RANK = 4, 16
EXPERTS, TOP_K = 64, 8


@dataclass(frozen=True)
class Way:
    """One way of computing a block.

    Attributes:
        model: its base, with parameters that all ways share.
        layout: whose the rows are.
        flops: reckoned, for each token.
        host: of the adapters.
    """

    model: PreTrainedModel
    host: AdapterHost
    layout: BatchLayout
    flops: float

    def step(self, x_BSD: Tensor, grad_BSD: Tensor, clock: Callable[[], float]) -> list[float]:
        """Seconds of the forward pass, and of both."""
        x_BSD.grad = None
        (block,) = self.host.blocks
        start = clock()
        with self.host.using(self.layout):
            out = block.module(x_BSD)
        middle = clock()
        (out[0] if isinstance(out, tuple) else out).backward(grad_BSD)
        return [middle - start, clock() - start]

    def bytes(self, x_BSD: Tensor, grad_BSD: Tensor) -> tuple[int, int]:
        """Kept by the forward pass, and the most there are."""
        known = [*self.model.parameters(), *self.model.buffers(), x_BSD, grad_BSD]
        with LiveBytes(known) as live, self.host.using(self.layout):
            (block,) = self.host.blocks
            out = block.module(x_BSD)
            kept = live.now - grad_BSD.nbytes  # the output itself is not kept
            (out[0] if isinstance(out, tuple) else out).backward(grad_BSD)
        return kept, live.peak


def main(
    tokens: Annotated[int, typer.Option(min=ADAPTERS, help="Tokens.")] = 1024,
    turns: Annotated[int, typer.Option(min=1, help="Measured turns.")] = 7,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the base.")] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the base's experts.")] = False,
) -> None:
    """Measure one block, then the same with LoRA on its experts."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    model = _one_layer(device, getattr(torch, dtype))
    shape = (ADAPTERS, tokens // ADAPTERS, model.config.hidden_size)
    x_BSD, grad_BSD = torch.randn(2, *shape, dtype=model.dtype, device=device)
    inputs = (x_BSD.clone().requires_grad_(), grad_BSD.clone())
    console = Console()
    console.print(
        f"{tokens} tokens, top-{TOP_K} of {EXPERTS} experts, hidden {shape[-1]}, {dtype}, {device}"
        f"{', experts compiled' if compile else ''}",
        highlight=False,
    )
    console.print(_table("frozen base", _frozen(model, compile), inputs, turns, compile))
    title = f"LoRA on the experts, rank {RANK}, {ADAPTERS} adapters with a quarter of the tokens"
    console.print(_table(title, _with_lora(model, tokens), inputs, turns, False))


def _one_layer(device: str, dtype: torch.dtype) -> PreTrainedModel:
    torch.manual_seed(0)
    hidden, width = (2048, 1024) if device == "cuda" else (1024, 512)
    config = OlmoeConfig(
        hidden_size=hidden, intermediate_size=width, num_experts=EXPERTS, num_experts_per_tok=TOP_K,
        num_hidden_layers=1, vocab_size=8, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    return model.requires_grad_(False)


def _twin(model: PreTrainedModel, *, ours: bool) -> PreTrainedModel:
    """The same base, with the same parameters."""
    twin = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    if ours:
        use_frozen_experts(twin)
    return twin


def _products(model: PreTrainedModel) -> float:
    """Flops of a token's products with W, one way."""
    hidden, width = int(model.config.hidden_size), int(model.config.intermediate_size)
    return 6.0 * TOP_K * hidden * width


def _frozen(model: PreTrainedModel, compile: bool) -> Mapping[str, Way]:
    ways = {}
    for name, ours in (("transformers' grouped_mm", False), ("ours", True)):
        twin = _twin(model, ours=ours)
        (block,) = find_moe_blocks(twin)
        if compile:
            block.experts.forward = torch.compile(block.experts.forward, fullgraph=True)
        layout = rows_of({None: ADAPTERS})
        ways[name] = Way(twin, AdapterHost(twin), layout, 2 * _products(model))
    return ways


def _with_lora(model: PreTrainedModel, tokens: int) -> Mapping[str, Way]:
    once = _products(model)
    hidden, width = model.config.hidden_size, model.config.intermediate_size
    # To x and to W; B A, and the gradients of both, for every expert of every adapter.
    making = 3 * 6.0 * RANK * EXPERTS * hidden * width * ADAPTERS / tokens
    pairs = 6.0 * TOP_K * RANK * (2 * hidden + 3 * width)
    ways = {}
    for name, computable, flops in (
        ("W + BA", False, 3 * once + making),
        ("(expert, adapter) pairs", True, 2 * once + pairs),
    ):
        twin = _twin(model, ours=True)
        host = AdapterHost(twin)
        with mock.patch.object(fused, "is_computable", lambda _experts, yes=computable: yes):
            for number in range(ADAPTERS):
                host.add(str(number), LoraExpertsConfig(rank=RANK))
        layout = rows_of({str(number): 1 for number in range(ADAPTERS)})
        ways[name] = Way(twin, host, layout, flops)
    return ways


def _table(
    title: str,
    ways: Mapping[str, Way],
    inputs: tuple[Tensor, Tensor],
    turns: int,
    compiled: bool,
) -> Table:
    clock = _clock(inputs[0].device.type)
    took: dict[str, list[list[float]]] = {name: [] for name in ways}
    for turn in track(range(turns + 1), description="turns", transient=True):
        for name, way in ways.items():
            seconds = way.step(*inputs, clock)
            if turn:  # the first is for warming up
                took[name].append(seconds)
    table = Table(title=title, box=None)
    for column in ("", "ms", "share", "forward", "Gflop", "kept MB", "peak MB"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    first = median(both for _, both in next(iter(took.values())))
    tokens = inputs[0].shape[:-1].numel()
    for name, way in ways.items():
        forward, both = (median(each) for each in zip(*took[name], strict=True))
        # What compiled code makes is not seen.
        sizes = ["", ""] if compiled else [f"{n / 1e6:,.0f}" for n in way.bytes(*inputs)]
        table.add_row(
            name,
            f"{1e3 * both:,.0f}",
            f"{both / first:.0%}",
            f"{1e3 * forward:,.0f}",
            f"{way.flops * tokens / 1e9:,.0f}",
            *sizes,
        )
    return table


def _clock(device: str) -> Callable[[], float]:
    def when_done() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return time.process_time if device == "cpu" else when_done


if __name__ == "__main__":
    typer.run(main)
