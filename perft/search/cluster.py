"""Starts Ray for a search: joins the cluster that there is, or starts one on this machine."""

import contextlib
import importlib.metadata
import logging
import os
from pathlib import Path

import ray

import perft

WORKER_ENVIRONMENT = {
    # How long a thread spins for the others before it sleeps. libgomp's default is thirty times
    # that: on cores shared with Ray's processes, or with anything else, training became some ten
    # times slower. Not spinning at all costs 1.4 times on idle cores.
    "GOMP_SPINCOUNT": "10000",
    # Memory that one step frees, glibc keeps for the next: 7% of a step on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    # Trials are persisted at every report: there is nothing to do when a machine is about to go.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Seconds after which Ray Train sees that a group has ended, or has lost a worker.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""Environment of the processes on the cluster."""

THIN_TRIALS_AT_ONCE = 8
"""Processes that a local Ray may start at the same time."""


def start_ray() -> None:
    """Joins the cluster that there is, or starts one on this machine.

    Raises:
        ConnectionError: if `RAY_ADDRESS` names a cluster that is not there.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Thin trials need no core, so that many may start at once; by default Ray warns of it.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(THIN_TRIALS_AT_ONCE))
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init("auto", runtime_env={"env_vars": WORKER_ENVIRONMENT}, **options)
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:  # who names a cluster does not want another
            raise
        # Its processes inherit these, and need no environment of their own that takes a second.
        os.environ.update(WORKER_ENVIRONMENT)
        _share_source_tree()
        _take_turns()
        ray.init("local", **options)


def _share_source_tree() -> None:
    """Has the processes that this one starts find perft where it is not installed."""
    try:
        importlib.metadata.distribution("perft")
    except importlib.metadata.PackageNotFoundError:
        known = os.environ.get("PYTHONPATH", "")
        tree = str(Path(perft.__file__).resolve().parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (known, tree)))


def _take_turns() -> None:
    """Has this process and those that it starts wait for each other's turn to end, on Linux.

    Each of Ray's processes wakes a hundred times a second, and every time takes a core from one
    that trains, for next to nothing: a twentieth of a search on two cores.
    """
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
