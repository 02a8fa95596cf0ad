"""A test whose hardware is missing fails; it neither passes nor is it left out without a word."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_gpu_tests_fail_where_there_is_no_gpu() -> None:
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(TESTS / "gpu")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no CUDA device: run this on a machine that has one" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert not {"passed", "skipped", "failed"} & set(last.replace(",", "").split()), last
    assert "errors in " in last
