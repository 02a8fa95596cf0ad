"""Restores a process's global state after a call that changes it.

A search, and Ray with it, changes environment variables, signal handlers and log levels.
`unchanged` restores them for the caller.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Inside, global state may change; restores it at the end.

    It restores the environment, signal handlers, existing loggers (level, handlers, propagate,
    disabled), warning filters, this thread's scheduling policy, and faulthandler, also if other
    threads have changed them meanwhile. Loggers created inside stay, and are no longer silenced.
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
    """Inside, signal handlers may change; restores them, in the main thread only."""
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
def no_interrupt_lost() -> Iterator[None]:
    """Raises at the end what a signal raised where Python drops it, as in a callback of a fork.

    Raises:
        KeyboardInterrupt: if a signal's handler raised one, or a `SystemExit`, in such a place.
    """
    lost: list[object] = []
    before = sys.unraisablehook

    def keep(found: "sys.UnraisableHookArgs") -> None:
        if issubclass(found.exc_type, KeyboardInterrupt | SystemExit):
            lost.append(found.exc_value)
        else:
            before(found)

    sys.unraisablehook = keep
    try:
        yield
    finally:
        sys.unraisablehook = before
    if lost:
        raise KeyboardInterrupt


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
    if not hasattr(os, "sched_getscheduler"):  # Linux only
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
