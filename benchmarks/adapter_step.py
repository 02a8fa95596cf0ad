"""The time an adapter adds to a frozen base's training step: PERFT, HF PEFT, a loop over experts.

`python benchmarks/adapter_step.py`. One decoder layer with random weights at the geometry of
OLMoE-1B-7B, and one of Mixtral's shape scaled to fit; forward and backward, with a gradient at the
layer's input, as for every layer but the first. The base's step is that of the whole layer. An
adapter adds some percent of it, less than the noise of a whole step: so the benchmark subtracts
steps with and without the adapter in which the base's frozen weights, whose products are the same
in both, only pass their input on. Steps run in turns, each with an adapter right after one without.

On one CPU thread, the default, it measures CPU time, which other processes disturb less; on more
threads and on a GPU, wall time. The process keeps freed memory: a step would else measure the
system's page allocation.
"""

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Annotated, Any, Literal

import torch
import typer
from loop_over_experts import loop_over_experts
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from transformers import MixtralConfig, MixtralForCausalLM, OlmoeConfig, OlmoeForCausalLM

from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraQVConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.injection import AdapterHost, rows_of
from perft.models.blocks import find_moe_blocks

RANK = 16
R, E = RoutedConfig(rank=RANK, num_experts=8, top_k=2), EmbeddedConfig(rank=RANK)
S, D = SingleConfig(rank=RANK), DenseConfig(rank=RANK, num_experts=2)
QV = LoraQVConfig(rank=RANK)
BASE_TURNS = 3
TINY = {"num_hidden_layers": 1, "vocab_size": 8}
TOKENS = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}


@dataclass(frozen=True)
class Step:
    """One forward and backward through a layer.

    Attributes:
        model: the layer.
        x_BSD: hidden states that enter it, with gradient.
        grad_BSD: the gradient of its output.
        clock: seconds so far.
    """

    model: Any
    x_BSD: Tensor
    grad_BSD: Tensor
    clock: Callable[[], float]

    def seconds(self) -> float:
        """Runs it; says how long it took."""
        self.x_BSD.grad = None
        start = self.clock()
        out = self.model.model(inputs_embeds=self.x_BSD, use_cache=False)
        out.last_hidden_state.backward(self.grad_BSD)
        return self.clock() - start


@dataclass(frozen=True)
class Contender:
    """Something that is put on a layer.

    Attributes:
        config: what its parameters are counted from.
        put_on: puts it on for a number of rows.
        instead_of: what it is another computation of.
    """

    config: AdapterConfig
    put_on: Callable[[Any, int], AbstractContextManager[None]]
    instead_of: str = ""


def main(
    rows: Annotated[int, typer.Option(min=1, help="Rows of the batch.")] = 4,
    length: Annotated[int, typer.Option(min=1, help="Tokens per row.")] = 256,
    turns: Annotated[int, typer.Option(min=1, help="Measured steps of each contender.")] = 7,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the base.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure, for each geometry, what every adapter adds to the base's step."""
    torch.set_num_threads(threads)
    _keep_freed_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = "on the GPU" if device == "cuda" else f"{threads} CPU thread(s)"
    console = Console()
    console.print(f"{rows} x {length} tokens, rank {RANK}, {dtype}, {place}", highlight=False)
    for name, model in _layers(device):
        model.to(getattr(torch, dtype)).requires_grad_(False).eval()
        shape = (rows, length, model.config.hidden_size)
        x_BSD, grad_BSD = torch.randn(2, *shape, device=device).to(model.dtype)
        step = Step(model, x_BSD.requires_grad_(), grad_BSD, _clock(device, threads))
        console.print(_table(name, step, turns))


def _keep_freed_memory() -> None:
    """As the GPU's allocator does; for glibc's, whose option numbers are those of its malloc.h."""
    trim_threshold, mmap_max = -1, -4
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(mmap_max, 0)
        set_option(trim_threshold, 2**31 - 1)


GEOMETRIES: Mapping[str, Callable[[], Any]] = {
    "OLMoE-1B-7B: hidden 2048, 64 experts of width 1024, top-8": lambda: OlmoeForCausalLM(
        OlmoeConfig(**TINY, **TOKENS, hidden_size=2048, intermediate_size=1024, num_experts=64)
    ),
    "Half of Mixtral: hidden 2048, 8 experts of width 7168, top-2": lambda: MixtralForCausalLM(
        MixtralConfig(
            **TINY, **TOKENS, hidden_size=2048, intermediate_size=7168, num_local_experts=8
        )
    ),
}


def _layers(device: str) -> Iterator[tuple[str, Any]]:
    """One layer of each geometry; made when it is its turn, since they are large."""
    torch.manual_seed(0)
    for name, make in GEOMETRIES.items():
        with torch.device(device):
            model = make()
        yield name, model


def _clock(device: str, threads: int) -> Callable[[], float]:
    if device == "cpu":
        return time.process_time if threads == 1 else time.perf_counter

    def when_done() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return when_done


def _perft(config: AdapterConfig) -> Contender:
    @contextmanager
    def put_on(model: Any, rows: int) -> Iterator[None]:
        host = AdapterHost(model)
        host.add("adapter", config)
        with host.using(rows_of({"adapter": rows})):
            yield
        host.remove("adapter")

    return Contender(config, put_on)


@contextmanager
def _hf_peft(model: Any, _rows: int) -> Iterator[None]:
    targets = ["q_proj", "v_proj"]
    wrapped = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets))
    yield
    wrapped.unload()


CONTENDERS: Mapping[str, Contender] = {
    "PERFT-R 2/8": _perft(R),
    "PERFT-E": _perft(E),
    "PERFT-S": _perft(S),
    "PERFT-D 2": _perft(D),
    "LoRA q,v": _perft(QV),
    "HF PEFT, LoRA q,v": Contender(QV, _hf_peft, "LoRA q,v"),
    "loop, R 2/8": Contender(R, lambda model, _: loop_over_experts(model, R), "PERFT-R 2/8"),
    "loop, E": Contender(E, lambda model, _: loop_over_experts(model, E), "PERFT-E"),
}


@contextmanager
def _weights_left_out(model: Any) -> Iterator[None]:
    """Linear layers and experts pass their input on: as much as their output is wide."""
    (block,) = find_moe_blocks(model)
    linears = [module for module in model.model.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        linear.forward = partial(_pass, width=linear.out_features)  # type: ignore[method-assign]
    block.experts.forward = _pass_weighted
    yield
    for module in (*linears, block.experts):
        del module.forward


def _pass(x: Tensor, width: int) -> Tensor:
    return x[..., :width]


def _pass_weighted(x_TD: Tensor, _index_TK: Tensor, weight_TK: Tensor) -> Tensor:
    """Keeps the way of the gradient through the router."""
    return x_TD * weight_TK.sum(-1, keepdim=True)


def _added(step: Step, turns: int) -> dict[str, list[float]]:
    """Seconds that each contender adds to a step, in each turn."""
    added: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with _weights_left_out(step.model):
        for turn in track(range(turns + 1), description="turns", transient=True):
            for name, contender in CONTENDERS.items():
                without = step.seconds()
                with contender.put_on(step.model, len(step.x_BSD)):
                    took = step.seconds() - without
                if turn:  # the first is for warming up
                    added[name].append(took)
    return added


def _table(title: str, step: Step, turns: int) -> Table:
    base = median([step.seconds() for _ in range(BASE_TURNS + 1)][1:])
    added = _added(step, turns)
    host = AdapterHost(step.model)
    table = Table(title=title, caption=f"The base's step takes {1e3 * base:.0f} ms.", box=None)
    for column in ("", "added ms", "of the step", "from .. to", "flops", "times ours"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, contender in CONTENDERS.items():
        mine, other = median(added[name]), contender.instead_of
        # Twice the parameters forward and, where they are frozen, as much backward; else twice.
        size = host.size(contender.config)
        flops = 6 * size.activated / (4 * size.base_activated)
        table.add_row(
            name,
            f"{1e3 * mine:.1f}",
            f"{mine / base:.1%}",
            f"{min(added[name]) / base:.1%} .. {max(added[name]) / base:.1%}",
            f"{flops:.1%}",
            f"{mine / median(added[other]):.1f}" if other else "",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
