"""What measures on a CPU as on a GPU runs on a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("program", "options", "wanted"),
    [
        ("adapter_step.py", "--rows 2 --length 64 --turns 1 --dtype bfloat16", "on the GPU"),
        ("dense_or_grouped.py", "--tokens 1024 --turns 1", "The balance here: "),
        (
            "gpu_pack.py",
            "--trials 1,2 --rows 2 --lengths 64 --turns 1 --microbatches 256",
            "in micro-batches of several sizes, compiled and captured",
        ),
        ("gpu_generate.py", "--tiny --rows 8 --examples 4 --turns 1", "a rung of 4 examples"),
    ],
)
def test_a_benchmark_runs(program: str, options: str, wanted: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *options.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert wanted in done.stdout
