"""Token rows made once and mapped, against making them in every trial: time and memory.

    python benchmarks/tokenize_once.py --data DIR

`DIR` is in the LLM-Adapters layout and has boolq and math_data to train on. Every way runs in a
process of its own, with one thread; time is CPU time, memory what the way adds to the process.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from perft.cli import run
from perft.models.source import base_directory
from perft.options import BaseOption
from perft.tasks import TaskSource, load_task
from perft.tasks.token_files import cached_rows, fingerprint_of
from perft.tasks.tokenize import tokenize

TASKS = {"boolq": "boolq", "math_data": "arithmetic"}
"""By training file, the task that trains on it."""

WAYS = ("in every trial", "once, the first time", "once, afterwards")
MAX_LENGTH = 256


def main(
    *,
    data: Annotated[str, typer.Option(help="Directory in the LLM-Adapters layout.")],
    base_model: BaseOption = None,
    way: Annotated[str, typer.Option(hidden=True)] = "",
    task: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure tokenisation per trial against token rows on disk."""
    if way:
        print(json.dumps(_measure(data, base_model, way, task)))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("training file", "way", "rows", "CPU seconds", "own MiB", "peak MiB"):
        table.add_column(title, justify="left" if title in ("training file", "way") else "right")
    for file, name in TASKS.items():
        with tempfile.TemporaryDirectory() as home:
            for each in WAYS:
                found = _in_a_process(data, base_model, each, name, home)
                table.add_row(
                    file,
                    each,
                    f"{found['rows']:,}",
                    f"{found['seconds']:.2f}",
                    f"{found['own']:.1f}",
                    f"{found['peak']:.1f}",
                )
    Console().print(table)


def _in_a_process(
    data: str, base_model: str | None, way: str, task: str, home: str
) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", data, "--way", way, "--task", task]
    command += ["--base-model", base_model] if base_model else []
    environment = {
        **os.environ, "PERFT_HOME": home, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measure(data: str, base_model: str | None, way: str, task: str) -> dict[str, float]:
    from transformers import AutoTokenizer  # noqa: PLC0415 - the parent does without

    tokenizer = AutoTokenizer.from_pretrained(base_directory(base_model), trust_remote_code=False)
    loaded = load_task(TaskSource(name=task, data=data))
    examples = (*loaded.train.examples, *loaded.validation.examples)
    tokenizer(["warm"])
    own, peak, start = _own_bytes(), _peak_bytes(), time.process_time()
    if way == WAYS[0]:
        rows = tokenize(examples, tokenizer, MAX_LENGTH, "answer")
    else:
        rows = cached_rows(
            examples,
            fingerprint_of(tokenizer),
            lambda: tokenize(examples, tokenizer, MAX_LENGTH, "answer"),
            max_length=MAX_LENGTH,
        )
    tokens = sum(int(rows.row(index)[0].sum()) for index in range(len(rows)))  # reads every page
    assert tokens > 0
    return {
        "rows": len(rows),
        "seconds": time.process_time() - start,
        "own": (_own_bytes() - own) / 2**20,
        "peak": (_peak_bytes() - peak) / 2**20,
    }


def _own_bytes() -> int:
    """Memory of this process that no other one shares and that is not a file's (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty:"))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    run(main)
