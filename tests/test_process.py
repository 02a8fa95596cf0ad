"""Whatever a call does to its process, the process is afterwards as it was."""

import faulthandler
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable

import pytest

from perft.process import handlers_kept, no_interrupt_lost, unchanged
from process_state import process_state


def change_environment() -> None:
    os.environ["PERFT_ADDED"] = "1"
    os.environ["HOME"] = "/elsewhere"
    del os.environ["PATH"]


def change_handlers() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def change_loggers() -> None:
    for name in (None, "perft.tests.known"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.addHandler(logging.NullHandler())
    logging.getLogger("perft.tests.known").propagate = False


def change_warnings() -> None:
    warnings.simplefilter("ignore")


def change_policy() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


CHANGES = [change_environment, change_handlers, change_loggers, change_warnings]
if hasattr(os, "sched_setscheduler"):  # of Linux
    CHANGES.append(change_policy)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_inside_is_put_back(change: Callable[[], None]) -> None:
    logging.getLogger("perft.tests.known")
    before = process_state()
    with unchanged():
        change()
        assert process_state() != before
    assert process_state() == before


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_put_back_after_an_error(change: Callable[[], None]) -> None:
    before = process_state()

    def interrupted() -> None:
        with unchanged():
            change()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert process_state() == before


def test_faulthandler_that_was_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    on = iter([False, True])
    monkeypatch.setattr(faulthandler, "is_enabled", lambda: next(on))
    monkeypatch.setattr(faulthandler, "disable", lambda: seen.append("off"))
    with unchanged():
        pass
    assert seen == ["off"]


def test_a_logger_that_comes_to_be_inside_is_heard_afterwards() -> None:
    with unchanged():
        new = logging.getLogger("perft.tests.new")
        new.setLevel(logging.CRITICAL)
        own = logging.getLogger("perft.tests.own")
        own.setLevel(logging.INFO)
    assert (new.level, own.level) == (logging.NOTSET, logging.INFO)


def test_a_thread_leaves_the_signal_handlers_alone() -> None:
    done: list[bool] = []

    def work() -> None:
        with unchanged(), handlers_kept():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


class Dropped:
    """Raises where Python shows an exception, and drops it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(signal.SIGTERM)])
def test_an_interrupt_that_python_drops_is_raised_at_the_end(error: BaseException) -> None:
    before, seen = sys.unraisablehook, []

    def work() -> None:
        with no_interrupt_lost():
            Dropped(error)
            seen.append("goes on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == ["goes on"]
    assert sys.unraisablehook is before


def test_other_exceptions_that_python_drops_are_shown_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: shown.append(found.exc_value))
    error = ValueError("dropped")
    with no_interrupt_lost():
        Dropped(error)
    assert shown == [error]
