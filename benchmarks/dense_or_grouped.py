"""Whether the cost rule for routed PEFT experts (`perft/adapters/cost.py`) chooses the cheaper way.

`python benchmarks/dense_or_grouped.py`. Routed PEFT experts alone, forward and backward, computed
both ways, in turn; what the rule says; and the balance at which both would take the same time. On
one CPU thread it is CPU time that is measured, else time that passes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from perft.adapters.bottleneck import all_experts
from perft.adapters.cost import BALANCE, MOVED_PER_FLOP, grouped_pays
from perft.adapters.grouped import grouped_experts
from perft.adapters.routing import Routing, gates_of

HIDDEN = 2048
# M, K, R
SIZES = [
    (8, 2, 16),
    (64, 8, 16),
    (64, 8, 64),
    (64, 2, 32),
    (128, 1, 16),
    (128, 8, 16),
    (128, 8, 64),
]


@dataclass(frozen=True)
class Experts:
    """The leaves of one computation, and the gradient of its output."""

    x_TD: Tensor
    down_MRD: nn.Parameter
    up_MRD: nn.Parameter
    routing: Routing
    grad_TD: Tensor

    def dense(self) -> Tensor:
        """Dense and masked."""
        gate_TM = gates_of(self.routing, len(self.down_MRD))
        return all_experts(*self._cast(), self.x_TD, gate_TM, activate=_same, drop=_same)

    def grouped(self) -> Tensor:
        """For the tokens that chose them."""
        return grouped_experts(*self._cast(), self.x_TD, self.routing, activate=_same, drop=_same)

    def _cast(self) -> tuple[Tensor, Tensor]:
        return self.down_MRD.to(self.x_TD.dtype), self.up_MRD.to(self.x_TD.dtype)


def main(
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the batch.")] = 1024,
    turns: Annotated[int, typer.Option(min=1, help="Measured steps of each.")] = 5,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the products.")] = (
        "float32"
    ),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure both computations at several sizes, and compare with the rule."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = time.process_time if device == "cpu" and threads == 1 else _when_done
    precision: torch.dtype = getattr(torch, dtype)
    balance = BALANCE[device, precision]
    table = Table(title=f"{tokens} tokens, hidden {HIDDEN}, {dtype}, {device}", box=None)
    for column in ("M", "K", "R", "dense ms", "grouped ms", "rule", "costs", "even at"):
        table.add_column(column, justify="right")
    for num_experts, top_k, rank in SIZES:
        experts = _draw((num_experts, top_k, rank), tokens, precision, device)
        dense, grouped = _measure(experts, turns, clock)
        width = precision.itemsize
        pays = grouped_pays(num_experts, top_k, rank, element_bytes=width, balance=balance)
        # With F flops and W bytes a second: dense takes M R / F, grouped K (R / F + moved / W).
        moved = MOVED_PER_FLOP * width * top_k
        even = (grouped / dense * num_experts * rank - top_k * rank) / moved
        chosen = grouped if pays else dense
        table.add_row(
            *(str(number) for number in (num_experts, top_k, rank)),
            f"{1e3 * dense:.1f}",
            f"{1e3 * grouped:.1f}",
            "grouped" if pays else "dense",
            f"{chosen / min(dense, grouped) - 1:+.0%}",
            f"{even:.0f}",
        )
    Console().print(table)
    print(f"The rule's balance here: {balance:.0f} flops per byte.")


def _draw(size: tuple[int, int, int], tokens: int, dtype: torch.dtype, device: str) -> Experts:
    num_experts, top_k, rank = size
    weights = [nn.Parameter(torch.randn(num_experts, rank, HIDDEN, device=device)) for _ in "du"]
    x_TD, grad_TD = torch.randn(2, tokens, HIDDEN, device=device).to(dtype)
    weight_TK, index_TK = torch.rand(tokens, num_experts, device=device).topk(top_k)
    routing = Routing(weight_TK.requires_grad_(), index_TK)
    return Experts(x_TD.requires_grad_(), weights[0], weights[1], routing, grad_TD)


def _measure(experts: Experts, turns: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds dense and grouped, after a turn for warming up."""
    seconds: list[tuple[float, float]] = []
    for _ in range(turns + 1):
        dense = _step(experts, experts.dense, clock)
        seconds.append((dense, _step(experts, experts.grouped, clock)))
    dense_times, grouped_times = zip(*seconds[1:], strict=True)
    return median(dense_times), median(grouped_times)


def _step(experts: Experts, compute: Callable[[], Tensor], clock: Callable[[], float]) -> float:
    for leaf in (experts.x_TD, experts.down_MRD, experts.up_MRD):
        leaf.grad = None
    start = clock()
    torch.autograd.backward(compute(), experts.grad_TD)
    return clock() - start


def _when_done() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _same(z: Tensor) -> Tensor:
    return z


if __name__ == "__main__":
    typer.run(main)
