"""Jobs called in this process, which saves their imports, and small data for them to read.

On the CPU, whatever the machine has: they would take a GPU, and a base in bf16.
"""

import contextlib
import gc
import io
import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perft.cli import run

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """How a job ended and what it wrote."""

    status: int
    output: str
    errors: str

    @property
    def refusal(self) -> str:
        """The one line of a job that refused to start."""
        assert self.status == 2, self
        assert all(re.match(r"\[\d+:\d\d\] ", line) for line in self.output.splitlines()), self
        assert self.errors.startswith("error: ")
        assert self.errors.count("\n") == 1
        return self.errors.removeprefix("error: ").strip()


def call(job: str, *args: str) -> Done:
    """Runs `jobs/<job>.py` with the options `args`."""
    main = runpy.run_path(str(REPOSITORY / "jobs" / f"{job}.py"))["main"]
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            run(main, args)
    gc.unfreeze()  # a search freezes its objects at its end; this process goes on
    return Done(int(ended.value.code or 0), output.getvalue(), _without_bars(errors.getvalue()))


def _without_bars(text: str) -> str:
    """`text` without the progress bar that transformers draws while it loads a base."""
    lines = [line for line in text.splitlines() if line and not line.startswith("Loading weights")]
    return "".join(f"{line}\n" for line in lines)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """One word problem as the LLM-Adapters files hold it."""
    return {
        "instruction": f"Ann has {number} pens and buys 2 pens. How many pens does she have?",
        "input": "",
        "output": f"She has {number} + 2 = {number + 2} pens. The answer is {number + 2}.",
        "answer": str(number + 2),
    } | changes


def write_data(folder: Path, *, train: Any = None, test: Any = None) -> str:
    """A data directory in the LLM-Adapters layout, of 20 training and 3 test rows."""
    for name, rows in (
        ("train/math_data.json", train or [row(number) for number in range(20)]),
        ("eval/AddSub/test.json", test or [row(number) for number in range(30, 33)]),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(rows))
    return str(folder)
