"""Whether the cost rule for routed PEFT experts (`perft/adapters/cost.py`) chooses the cheaper way.

`python benchmarks/dense_or_grouped.py`. Runs routed PEFT experts alone, forward and backward, both
ways in turn. Prints the times, the rule's choice, the balance at which both would take the same
time, and the median of these over the sizes, which `BALANCE` should have for this device and dtype.
It measures CPU time on one CPU thread, time between two events on a GPU, with so many tokens that
the GPU does not wait for the host, and else wall time.
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

Timer = Callable[[Callable[[], None]], float]

HIDDEN = 2048
COLUMNS = ("M", "K", "R", "dense ms", "grouped ms", "rule", "costs", "even at")
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
        return all_experts(*self._cast(), self.x_TD, gate_TM, activate=_same, zero=_same)

    def grouped(self) -> Tensor:
        """For the tokens that chose them."""
        return grouped_experts(*self._cast(), self.x_TD, self.routing, activate=_same, zero=_same)

    def _cast(self) -> tuple[Tensor, Tensor]:
        return self.down_MRD.to(self.x_TD.dtype), self.up_MRD.to(self.x_TD.dtype)


def main(
    *,
    device: Annotated[str, typer.Option(help="cpu or cuda.", show_default="cuda if any")] = "",
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Of the batch.", show_default="1024, on a GPU 65536")
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="Measured steps of each.")] = 5,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(help="Of the products.", show_default="float32, on a GPU bfloat16"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure both computations at several sizes, and compare with the rule."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    gpu = place.type == "cuda"
    if gpu and not torch.cuda.is_available():
        raise typer.BadParameter("no CUDA device here; use --device cpu", param_hint="'--device'")
    tokens = tokens or (65_536 if gpu else 1024)
    precision: torch.dtype = getattr(torch, dtype or ("bfloat16" if gpu else "float32"))
    name = torch.cuda.get_device_name(place) if gpu else f"{threads} CPU thread(s)"
    table = Table(title=f"{tokens} tokens, hidden {HIDDEN}, {precision}, {name}", box=None)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    balance = BALANCE.get((place.type, precision))
    balances = []
    for size in SIZES:
        took = _measure(_draw(size, tokens, precision, place), turns, _timer(place, threads))
        balances.append(even_balance(size, *took, precision.itemsize))
        table.add_row(*_row(size, took, precision.itemsize, balance, balances[-1]))
    Console().print(table)
    print(f"The balance here: {median(balances):.0f} flops per byte, the median of the sizes.")
    print(
        "The rule has none: it computes dense." if balance is None else f"The rule's: {balance:g}."
    )


def even_balance(size: tuple[int, int, int], dense: float, grouped: float, width: int) -> float:
    """The balance at which the rule would find both computations equally long.

    Args:
        size: M, K, R.
        dense: seconds.
        grouped: seconds.
        width: bytes of a hidden state's number.
    """
    # With F flops and W bytes a second: dense takes M R / F, grouped K (R / F + moved / W).
    num_experts, top_k, rank = size
    return (grouped / dense * num_experts * rank - top_k * rank) / (MOVED_PER_FLOP * width * top_k)


def _row(
    size: tuple[int, int, int],
    took: tuple[float, float],
    width: int,
    balance: float | None,
    even: float,
) -> list[str]:
    """One line of the table, in the order of `COLUMNS`."""
    num_experts, top_k, rank = size
    pays = balance is not None and grouped_pays(
        num_experts, top_k, rank, element_bytes=width, balance=balance
    )
    return [
        *map(str, size),
        *(f"{1e3 * seconds:.2f}" for seconds in took),
        "grouped" if pays else "dense",
        f"{took[pays] / min(took) - 1:+.0%}",
        f"{even:.0f}",
    ]


def _draw(
    size: tuple[int, int, int], tokens: int, dtype: torch.dtype, device: torch.device
) -> Experts:
    num_experts, top_k, rank = size
    weights = [nn.Parameter(torch.randn(num_experts, rank, HIDDEN, device=device)) for _ in "du"]
    x_TD, grad_TD = torch.randn(2, tokens, HIDDEN, device=device).to(dtype)
    weight_TK, index_TK = torch.rand(tokens, num_experts, device=device).topk(top_k)
    routing = Routing(weight_TK.requires_grad_(), index_TK)
    return Experts(x_TD.requires_grad_(), weights[0], weights[1], routing, grad_TD)


def _measure(experts: Experts, turns: int, timer: Timer) -> tuple[float, float]:
    """Median seconds dense and grouped, after a turn for warming up."""
    seconds: list[tuple[float, float]] = []
    for _ in range(turns + 1):
        dense = timer(lambda: _step(experts, experts.dense))
        seconds.append((dense, timer(lambda: _step(experts, experts.grouped))))
    dense_times, grouped_times = zip(*seconds[1:], strict=True)
    return median(dense_times), median(grouped_times)


def _step(experts: Experts, compute: Callable[[], Tensor]) -> None:
    for leaf in (experts.x_TD, experts.down_MRD, experts.up_MRD):
        leaf.grad = None
    torch.autograd.backward(compute(), experts.grad_TD)


def _timer(device: torch.device, threads: int) -> Timer:
    """Says how long a run takes: between two events on a GPU, else by a clock."""
    if device.type == "cuda":
        return _between_events
    clock = time.process_time if threads == 1 else time.perf_counter

    def by_clock(run: Callable[[], None]) -> float:
        start = clock()
        run()
        return clock() - start

    return by_clock


def _between_events(run: Callable[[], None]) -> float:
    start, end = (_event() for _ in range(2))
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1e3


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _same(z: Tensor) -> Tensor:
    return z


if __name__ == "__main__":
    typer.run(main)
