"""The cost of sharing a base over several ranks: memory to load it, and time to communicate.

`python benchmarks/sharing_a_base.py` writes an OLMoE of random bf16 weights to a temporary folder
and has 1, 2 and 4 gloo ranks load it, once as perft does and once whole before it is divided. Its
own memory at a rank's peak, without the pages of mapped files, is given in percent of the base. A
rank has one thread.
"""

import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from gloo_ranks import on_ranks
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, OlmoeConfig, OlmoeForCausalLM

from perft.models.load import load_base
from perft.models.sharding import shard
from perft.models.source import BUILTIN
from perft.ranks import Ranks

RANKS = (1, 2, 4)
COLUMNS = ("ranks", "peak, divided when read", "held after", "peak, read whole", "ms to agree")
AGREEMENTS = 50
SAMPLE_SECONDS = 0.002


@dataclass(frozen=True)
class Job:
    """What the ranks do, and the file that rank 0 writes what it found to."""

    base: str
    whole: bool
    found: str


def main(
    layers: Annotated[int, typer.Option(min=1, help="Layers of the base, 0.1 GB each.")] = 8,
) -> None:
    """Measure loading and agreement for 1, 2 and 4 ranks."""
    table = Table(title=f"a base of {layers} layers on several ranks", box=None)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        base = f"{folder}/base"
        # In a process of its own: what it leaves behind must not count.
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(base, layers))
        writer.start()
        writer.join()
        for ranks in RANKS:
            divided = _run(Job(base, False, f"{folder}/found"), ranks)
            whole = _run(Job(base, True, f"{folder}/found"), ranks)
            table.add_row(
                str(ranks),
                f"{divided['peak']:.0%}",
                f"{divided['after']:.0%}",
                f"{whole['peak']:.0%}",
                f"{divided['agree']:.2f}",
            )
    Console().print(table)


def _write(base: str, layers: int) -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = OlmoeConfig(
        hidden_size=1024, intermediate_size=1024, num_experts=16, num_experts_per_tok=2,
        num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8, vocab_size=8192,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    OlmoeForCausalLM(config).save_pretrained(base, max_shard_size="200MB")
    AutoTokenizer.from_pretrained(BUILTIN).save_pretrained(base)


def _run(job: Job, ranks: int) -> dict[str, float]:
    on_ranks(_measure, job, ranks)
    found: dict[str, float] = json.loads(Path(job.found).read_text())
    return found


def _measure(ranks: Ranks, job: Job) -> None:
    load_base(ranks=ranks)  # imports what loading needs
    before = _own_bytes()
    with _peak() as peak:
        if job.whole:
            base = load_base(job.base, dtype="bfloat16")
            shard(base.model, ranks)
        else:
            base = load_base(job.base, dtype="bfloat16", ranks=ranks)
        after = _own_bytes()
    size = sum(file.stat().st_size for file in Path(job.base).glob("*.safetensors"))
    agree = _milliseconds(lambda: ranks.broadcast(_order()))
    if ranks.rank == 0:
        found = {
            "peak": (peak() - before) / size,
            "after": (after - before) / size,
            "agree": agree,
        }
        Path(job.found).write_text(json.dumps(found))


def _order() -> dict[str, Any]:
    """As large as what rank 0 tells the others before a round of eight trials."""
    config = {f"key{i}": i for i in range(20)}
    trials = [{"trial": i, "config": config, "target": 50, "due": True} for i in range(8)]
    return {"assignments": trials, "live": list(range(8)), "score": [], "stop": False}


def _milliseconds(work: Callable[[], object]) -> float:
    took = []
    for _ in range(AGREEMENTS):
        start = time.perf_counter()
        work()
        took.append(1e3 * (time.perf_counter() - start))
    return median(took)


@contextmanager
def _peak() -> Iterator[Callable[[], int]]:
    """Inside, a thread looks at this process's own memory; then, the most that it saw."""
    seen, done = [_own_bytes()], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            seen.append(_own_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: max(seen)
    finally:
        done.set()
        watcher.join()


def _own_bytes() -> int:
    """Memory of this process that belongs to no file."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    typer.run(main)
