"""How many requests `perft serve` answers, and how long each takes, against one at a time.

    python benchmarks/serving.py

It starts the server on loopback with four adapters on one base, asks it from several threads, each
request for another adapter; beside it, a server whose batch has one row. Answers have the same
number of tokens unless their text ends before.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from perft.cli import run
from perft.options import BaseOption, DtypeOption

CLIENTS = (1, 4, 16)
VARIANTS = ("perft-r", "perft-e", "perft-s", "lora-qv")
PROMPT = "Sam has 12 buns. Ann gives Sam 7 more. How many buns does Sam have?"
WARM_UP = 4


@dataclass(frozen=True)
class Load:
    """What was measured at one number of clients.

    Attributes:
        clients: threads that ask at a time.
        seconds: of each request.
        tokens: written ones, of all requests.
        wall: seconds of all requests together.
    """

    clients: int
    seconds: Sequence[float]
    tokens: int
    wall: float

    @property
    def requests_per_second(self) -> float:
        """Answered requests per second."""
        return len(self.seconds) / self.wall

    def percentile(self, percent: int) -> float:
        """Seconds in which so many percent of the requests were answered."""
        return quantiles(self.seconds, n=100, method="inclusive")[percent - 1]


def main(
    *,
    base_model: BaseOption = None,
    requests: Annotated[
        int, typer.Option(min=16, max=10_000, help="Requests at each number of clients.")
    ] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 48,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 8,
    dtype: DtypeOption = "auto",
) -> None:
    """Measure requests per second and latency, batched and one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        adapters = _adapters(base_model, Path(folder), rank)
        options = ["--base-model", base_model or "built-in", "--dtype", dtype]
        # Both wait while the other is asked: what else the machine does slows both alike.
        with (
            _server(adapters, [*options, "--max-batch", str(CLIENTS[-1])]) as many,
            _server(adapters, [*options, "--max-batch", "1"]) as one,
        ):
            found = [
                [_load(url, clients, requests, max_tokens) for url in (many, one)]
                for clients in CLIENTS
            ]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("clients", "requests/s", "tokens/s", "p50 s", "p95 s", "one at a time", "ratio"):
        table.add_column(title, justify="right")
    for batched, alone in found:
        table.add_row(
            str(batched.clients),
            f"{batched.requests_per_second:.2f}",
            f"{batched.tokens / batched.wall:.0f}",
            f"{batched.percentile(50):.3f}",
            f"{batched.percentile(95):.3f}",
            f"{alone.requests_per_second:.2f}",
            f"{batched.requests_per_second / alone.requests_per_second:.2f}",
        )
    Console().print(table)


def _adapters(base_model: str | None, folder: Path, rank: int) -> list[Path]:
    """Fresh adapters, which cost what trained ones do."""
    from perft.adapters.table import TABLE  # noqa: PLC0415 - loads torch
    from perft.checkpoint import save_adapter  # noqa: PLC0415
    from perft.config import adapter_from_flat  # noqa: PLC0415
    from perft.injection import AdapterHost  # noqa: PLC0415
    from perft.models.load import load_base  # noqa: PLC0415

    host = AdapterHost(load_base(base_model).model)
    for name in VARIANTS:
        host.add(name, adapter_from_flat(TABLE[name].example.to_flat() | {"rank": rank}))
    return [save_adapter(host, name, folder / name) for name in VARIANTS]


@contextmanager
def _server(adapters: Sequence[Path], options: Sequence[str]) -> Iterator[str]:
    named = [word for folder in adapters for word in ("--adapter", str(folder))]
    command = [sys.executable, "-m", "perft", "serve", *named, *options, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            url: str = json.loads(line)["url"]
            for i in range(WARM_UP):
                _ask(url, i, 8)
            yield url
        finally:
            process.terminate()


def _load(url: str, clients: int, requests: int, max_tokens: int) -> Load:
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(lambda i: _ask(url, i, max_tokens), range(requests)))
    wall = time.perf_counter() - began
    return Load(clients, [seconds for seconds, _ in found], sum(n for _, n in found), wall)


def _ask(url: str, number: int, max_tokens: int) -> tuple[float, int]:
    """Seconds of one request, and the tokens of its answer."""
    body = {
        "model": VARIANTS[number % len(VARIANTS)],
        "prompt": PROMPT,
        "max_tokens": max_tokens,
        "seed": number,
    }
    request = urllib.request.Request(  # noqa: S310 - of this benchmark's own server
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        tokens: int = json.load(answer)["usage"]["completion_tokens"]
    return time.perf_counter() - began, tokens


if __name__ == "__main__":
    run(main)
