"""The first Ctrl-C or SIGTERM stops a search in order, the next one ends it at once."""

import os
import signal
import subprocess
import sys
import threading
from unittest.mock import MagicMock

import pytest

from perft.searching.interrupt import STATUS, interruptible

PROGRAM = """
import signal, sys, time
from perft.process import handlers_kept
from perft.searching import interrupt
from perft.searching.interrupt import interruptible

def tell(line):
    print(line, flush=True)

interrupt.STOP_SECONDS = float(sys.argv[1])
with interruptible(tell):
    with handlers_kept():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as ray.init does
    try:
        tell("running")
        time.sleep(600)
    except KeyboardInterrupt:
        tell("keeping")
        if "slow" in sys.argv:
            time.sleep(600)
tell("kept")
"""
STOPPING = "stopping, and keeping what there is; once more aborts\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_stops_in_order_and_the_next_aborts(number: signal.Signals) -> None:
    for more, status, end in (((), 0, "kept\n"), (("slow",), STATUS, "")):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "180", *more], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            process.send_signal(number)
            assert process.stdout.readline() == STOPPING
            assert process.stdout.readline() == "keeping\n"
            if more:
                process.send_signal(number)
            assert process.stdout.read() == end
        assert process.returncode == status


def test_a_search_that_does_not_stop_is_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "0.5", "slow"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == f"{STOPPING}keeping\n"
    assert process.returncode == STATUS


def test_the_handlers_of_before_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Timer", MagicMock())  # it would end this process
    before = signal.getsignal(signal.SIGINT)
    with interruptible(print):
        assert signal.getsignal(signal.SIGINT) is not before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_leaves_the_signals_alone() -> None:
    found = []

    def work() -> None:
        with interruptible(print):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
