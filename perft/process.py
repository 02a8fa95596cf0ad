"""Gives a process back as it was: for a call that has to change what belongs to all of it.

A search sets its process up for Ray, which sets it up further: variables of the environment, signal
handlers, log levels. Inside `unchanged` all of that may be done; whoever called finds what was.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Inside, the process may be changed; at the end it is as it was.

    That is: the environment, the signal handlers, the loggers that there were (levels, handlers,
    whether they pass on and whether they are on), the filters of warnings, the scheduling policy of
    this thread, and faulthandler. What other threads change of these meanwhile is undone, too.
    Loggers that come to be inside stay, and are heard if they were silenced.
    """
    with (
        _environment_kept(),
        handlers_kept(),
        _loggers_kept(),
        warnings.catch_warnings(),
        _policy_kept(),
        _faulthandler_kept(),
    ):
        yield


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Inside, signal handlers may be changed, of which only the main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextlib.contextmanager
def _loggers_kept() -> Iterator[None]:
    before = {
        logger: (logger.level, logger.handlers[:], logger.propagate, logger.disabled)
        for logger in _loggers()
    }
    try:
        yield
    finally:
        for logger, (level, handlers, propagate, disabled) in before.items():
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, disabled
        for logger in _loggers():
            if logger not in before and logger.level == logging.CRITICAL:
                logger.setLevel(logging.NOTSET)


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


@contextlib.contextmanager
def _policy_kept() -> Iterator[None]:
    if not hasattr(os, "sched_getscheduler"):  # of Linux
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            with contextlib.suppress(OSError):  # a container may forbid it
                os.sched_setscheduler(0, policy, parameter)


@contextlib.contextmanager
def _faulthandler_kept() -> Iterator[None]:
    was_enabled = faulthandler.is_enabled()
    try:
        yield
    finally:
        if faulthandler.is_enabled() and not was_enabled:
            faulthandler.disable()
