"""Processes load bases on GPUs one after the other, and none waits for one that is gone."""

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from perft.models import load, turn
from perft.models.load import load_base
from perft.ranks import Ranks


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


TAKES = """
import time
from perft.models.turn import turn

with turn():
    print("inside", flush=True)
    time.sleep({seconds})
"""


def taker(seconds: int) -> subprocess.Popen[str]:
    """A process that takes a turn and holds it so long."""
    code = TAKES.format(seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str], within: float) -> str:
    """What it has said until then."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within)
    return process.stdout.readline() if ready else ""


def test_a_turn_waits_for_the_other_and_ends_with_its_process() -> None:
    with taker(600) as holder, taker_after(holder) as waiter:
        assert said(waiter, within=2) == ""
        holder.kill()
        assert said(waiter, within=60) == "inside\n"


def taker_after(holder: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """One that comes when another has its turn."""
    assert said(holder, within=60) == "inside\n"
    return taker(0)


def test_a_link_at_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    turn.lock_file().symlink_to(tmp_path / "precious")
    with turn.turn():
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_only_a_lone_process_with_a_gpu_takes_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        taken.append("turn")
        yield

    monkeypatch.setattr(load, "turn", noted)
    load_base()
    assert taken == []
    cuda = torch.device("cuda")
    for ranks, turns in ((Ranks(size=1), 1), (Ranks(size=2), 0)):
        with load.loading_on(cuda, ranks):
            assert len(taken) == turns
        taken.clear()
