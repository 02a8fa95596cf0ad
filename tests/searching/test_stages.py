"""What a search is doing is said under one clock, and of what is over at once, nothing."""

import io
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from perft.searching import stages as module
from perft.searching.stages import Stages


def stages() -> tuple[Stages, io.StringIO]:
    stream = io.StringIO()
    return Stages(Console(file=stream, width=20)), stream


def test_a_line_has_the_time_and_is_not_cut() -> None:
    saying, stream = stages()
    saying.say("reading [/tmp] and whatever else there is")
    assert stream.getvalue() == "[0:00] reading [/tmp] and whatever else there is\n"


def test_what_takes_long_is_said_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said = threading.Event()
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.01)
    saying, _ = stages()
    monkeypatch.setattr(saying, "say", lambda text: said.set())
    with saying.during("reading the base"):
        assert said.wait(60)


def test_what_is_over_at_once_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Timer:
        def __init__(self, seconds: float, _say: object, _args: object) -> None:
            assert seconds == module.QUIET_SECONDS

        def start(self) -> None:
            done.append("started")

        def cancel(self) -> None:
            done.append("cancelled")

    monkeypatch.setattr(threading, "Timer", Timer)
    saying, stream = stages()
    with pytest.raises(ValueError, match="no base"), saying.during("reading the base"):
        raise ValueError("no base")
    assert (done, stream.getvalue()) == (["started", "cancelled"], "")


def test_what_is_slow_to_import_comes_after_the_first_line() -> None:
    program = "import perft.commands.search, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "rich" in loaded
    assert not loaded & {"numpy", "pyarrow", "pandas", "ray", "torch", "mlflow", "optuna"}
