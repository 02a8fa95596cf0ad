"""The live view in a terminal that is resized and interrupted, as a person has it."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pexpect
import pytest

REPOSITORY = Path(__file__).parents[2]
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
HOME = "\x1b[H"
PROGRAM = """
import sys, time
sys.path[:0] = ["tests", "tests/searching"]
from test_view import ENTRIES, Left, SimpleNamespace, View
from perft.screen import screen
from perft.searching.interrupt import interruptible
from perft.searching.stages import Stages
stages = Stages(screen())
agenda = SimpleNamespace(num_trials=16)
shown = {"title": "search first", "steps": dict, "outlook": Left("1 min left")}
view = View(stages, agenda, 200, ENTRIES, **shown)
with stages.waiting(), interruptible(stages.say, stages.leave):
    stages.say("starting")
    with view.running():
        view.stage("training")
        print("printed by a library")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(float(sys.argv[1]))
    stages.say("ended")
"""


@pytest.fixture
def terminal():
    """Starts the view in a terminal of 80 columns and 24 lines."""
    started: list[pexpect.spawn] = []
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}

    def start(seconds: float) -> pexpect.spawn:
        process = pexpect.spawn(
            sys.executable, ["-c", PROGRAM, str(seconds)], cwd=str(REPOSITORY),
            env={**environment, "TERM": "xterm"}, dimensions=(24, 80), encoding="utf-8", timeout=60,
        )  # fmt: skip
        started.append(process)
        process.expect_exact("starting")
        process.expect_exact(ENTER)
        process.expect_exact("training")
        return process

    yield start
    for process in started:
        process.close(force=True)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def frame(process: pexpect.spawn) -> list[str]:
    """The lines of a whole screen, drawn from its corner."""
    process.expect_exact(HOME)
    process.expect_exact(HOME)
    return plain(process.before).split("\r\n")


def test_every_size_is_drawn_whole_from_the_corner(terminal) -> None:
    process = terminal(0.5)
    for rows, columns in ((24, 80), (50, 200), (20, 70)):
        process.setwinsize(rows, columns)
        until, lines = time.monotonic() + 30, frame(process)
        while {len(line) for line in lines} != {columns}:
            assert time.monotonic() < until, lines
            lines = frame(process)
        assert len(lines) == rows
        assert "search first" in lines[0]
        assert "running" in "".join(lines)
    process.kill(signal.SIGINT)
    process.expect_exact("stopping, and keeping what there is; once more aborts")
    process.expect_exact(LEAVE)
    process.expect(pexpect.EOF)
    left = plain(process.before)
    for line in ("printed by a library", "stopping, and keeping", "ended", "200/200"):
        assert line in left, "what was said stays on the terminal"


def test_a_second_interrupt_gives_the_terminal_back(terminal) -> None:
    process = terminal(60)
    process.kill(signal.SIGINT)
    process.expect_exact("stopping")
    process.kill(signal.SIGINT)
    process.expect(pexpect.EOF)
    assert LEAVE in process.before
    process.wait()
    assert process.exitstatus == 130
