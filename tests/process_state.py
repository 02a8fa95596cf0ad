"""What belongs to a process as a whole, to be compared before and after a call."""

import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any


def process_state() -> dict[str, Any]:
    """By what it is called: everything that a call could leave changed."""
    has_policies = hasattr(os, "sched_getscheduler")
    return {
        "environment": dict(os.environ),
        "signal handlers": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "loggers": {
            name: _logger(each)
            for name, each in [("", logging.root), *logging.root.manager.loggerDict.items()]
            if isinstance(each, logging.Logger)
        },
        "warnings": warnings.filters[:],
        "scheduling": (os.sched_getscheduler(0) if has_policies else None, os.nice(0)),
        "faulthandler": faulthandler.is_enabled(),
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "folder": Path.cwd(),
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr),
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What of a state is another than before, without the loggers that have come to be since."""
    known = before["loggers"].keys()
    after = {**after, "loggers": {name: after["loggers"][name] for name in known}}
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    return logger.level, logger.handlers[:], logger.propagate, logger.disabled
