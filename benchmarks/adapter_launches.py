"""How many operations an adapter adds at one place, and how much host time.

`python benchmarks/adapter_launches.py`. A pass of a pack through a small base, forward and
backward, with the adapters and without; what the pass has more, for each adapter and layer. On a
GPU each operation is a launch (views are not counted), and a short step waits for the host. The
tensors are so small that the time on a CPU is the host's. Medians of passes that take turns.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import OlmoeConfig, OlmoeForCausalLM

from perft.adapters.dropout import DropKey
from perft.adapters.routing import load_balancing_loss
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.forward import AdapterBatch, TokenizedExample, pack_losses
from perft.injection import AdapterHost

LAYERS, ROWS, LENGTH = 4, 2, 12

CONFIGS: Mapping[str, AdapterConfig] = {
    "S": SingleConfig(rank=4),
    "S parallel": SingleConfig(rank=4, form="parallel"),
    "D 2": DenseConfig(rank=4, num_experts=2),
    "R 2/4": RoutedConfig(rank=4, num_experts=4, top_k=2),
    "E": EmbeddedConfig(rank=4),
    "R 1/512 grouped": RoutedConfig(rank=4, num_experts=512, top_k=1),
    "LoRA q,v": LoraQVConfig(rank=4),
    "LoRA attention": LoraAttentionConfig(rank=4),
    "LoRA router": LoraRouterConfig(rank=4),
}


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations inside, by name, but for views.

    Attributes:
        counts: how often each was called.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        returns = [value.alias_info for value in func._schema.returns]
        if not any(alias is not None and not alias.is_write for alias in returns):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def main(
    trials: Annotated[int, typer.Option(min=1, help="Adapters of one variant in the pass.")] = 4,
    turns: Annotated[int, typer.Option(min=1, help="Timed passes of each kind.")] = 30,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Of the right half.")] = 0.1,
    only: Annotated[str, typer.Option(help="One variant, with its operations by name.")] = "",
) -> None:
    """Count, for every variant, operations and microseconds for each adapter and layer."""
    torch.set_num_threads(1)
    console, table = Console(), Table(box=None)
    for column in ("", "operations", "us", f"operations, dropout {dropout:g}", "us"):
        table.add_column(column, justify="right" if column else "left")
    for name, config in CONFIGS.items():
        if only and name != only:
            continue
        cells = []
        for probability in (0.0, dropout):
            if probability and isinstance(config, LoraRouterConfig):
                cells += ["", ""]
                continue
            variant = dataclasses.replace(config, dropout=probability)
            extra, seconds = _added(variant, trials, turns)
            places = LAYERS * trials
            cells += [f"{sum(extra.values()) / places:.1f}", f"{1e6 * seconds / places:.0f}"]
            if only:
                console.print({k: n / places for k, n in extra.most_common() if n})
        table.add_row(name, *cells)
    console.print(table)


def _added(config: AdapterConfig, trials: int, turns: int) -> tuple[Counter[str], float]:
    """What the pass with `trials` adapters has beyond that without them."""
    torch.manual_seed(0)
    model = _base()
    host = AdapterHost(model)
    names = [f"trial{i}" for i in range(trials)]
    for name in names:
        host.add(name, config)
    idle = AdapterHost(_base())
    first = idle.blocks[0].module
    first.register_forward_hook(lambda _m, _a, y_BSD: y_BSD.requires_grad_())
    if isinstance(config, LoraQVConfig | LoraAttentionConfig):
        embeddings = idle.model.get_input_embeddings()
        embeddings.register_forward_hook(lambda _m, _a, y_BSD: y_BSD.requires_grad_())
    ways: dict[str, Callable[[], None]] = {
        "with": lambda: _pass(host, names),
        "without": lambda: _pass(idle, names),
    }
    counts, took = {}, {name: _seconds(run) for name, run in ways.items()}
    for name, run in ways.items():
        with Launches() as launches:
            run()
        counts[name] = launches.counts
    each: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, run in ways.items():
            each[name].append(_seconds(run))
    took = {name: median(times) for name, times in each.items()}
    counts["with"].subtract(counts["without"])
    return counts["with"], took["with"] - took["without"]


def _pass(host: AdapterHost, names: list[str]) -> None:
    """As a pack's step has it; without adapters on the base all rows are the base's."""
    rows: list[TokenizedExample] = [(np.arange(3, 3 + LENGTH, dtype=np.int32), 2)] * ROWS
    if not host.configs:
        for name in names:
            host.configs.setdefault(name, SingleConfig(rank=1))  # named, and nowhere
    parts = {name: AdapterBatch(rows, DropKey.of(1, 2, slice(0, ROWS))) for name in names}
    losses = pack_losses(host, 0, parts)
    total = torch.stack(list(losses.loss.values())).sum()
    for sums in losses.sums.values():
        total = total + load_balancing_loss(sums, sums.load_M.clone(), sums.tokens.clone())
    total.backward()  # type: ignore[no-untyped-call]
    for tensor in host.model.parameters():
        tensor.grad = None


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _base() -> OlmoeForCausalLM:
    config = OlmoeConfig(
        hidden_size=16, intermediate_size=16, num_experts=4, num_experts_per_tok=2,
        num_hidden_layers=LAYERS, num_attention_heads=2, num_key_value_heads=2, vocab_size=32,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return OlmoeForCausalLM(config).eval()


if __name__ == "__main__":
    typer.run(main)
