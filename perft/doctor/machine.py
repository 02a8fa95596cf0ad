"""Memory, disks and folders that perft and Ray write to."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from perft.doctor.finding import Finding, missing, ok, warning
from perft.home import home

GIGABYTE = 10**9
LEAST_MEMORY = 4 * GIGABYTE
"""For a search on the built-in base: Ray, a worker and four thin trials take some 3 GB."""
LEAST_SHARED = 1 * GIGABYTE
"""Docker gives 64 MB unless it is told otherwise; Ray then keeps its objects on the disk."""
LOW_DISK, LEAST_DISK = 10 * GIGABYTE, GIGABYTE

Free = Callable[[Path], int]
"""Free bytes at a place."""


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free


def memory(available: int | None = None) -> list[Finding]:
    """CPU cores, and the memory that is available now."""
    have = psutil.virtual_memory().available if available is None else available
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shown = f"{_gigabytes(have)} available, {cores} CPU cores"
    if have < LEAST_MEMORY:
        advice = f"free some: a search takes {_gigabytes(LEAST_MEMORY)}, a larger base more"
        return [warning("memory", shown, advice)]
    return [ok("memory", shown)]


def shared_memory(
    place: Path = Path("/dev/shm"),  # noqa: S108 - Ray's, not written here
    free: Free = _free,
) -> list[Finding]:
    """The shared memory in which Ray keeps its objects; nothing where a system has none."""
    if not place.is_dir():
        return []
    shown = f"{_gigabytes(free(place))} free"
    if free(place) < LEAST_SHARED:
        advice = "start the container with --shm-size=2g, or mount a larger one"
        return [warning(str(place), shown, advice)]
    return [ok(str(place), shown)]


def disk(place: Path | None = None, free: Free = _free) -> list[Finding]:
    """Whether searches can be written to `PERFT_HOME`, and how much is free there."""
    folder = home() if place is None else place
    if not is_writable(folder):
        advice = "set PERFT_HOME to a folder that you can write to"
        return [missing("PERFT_HOME", f"{folder} cannot be written", advice)]
    there = free(_nearest(folder))
    shown = f"{folder}, {_gigabytes(there)} free"
    if there < LEAST_DISK:
        return [missing("PERFT_HOME", shown, "free some, or set PERFT_HOME to a larger disk")]
    if there < LOW_DISK:
        advice = "enough for the built-in base; set PERFT_HOME or --storage to a larger disk"
        return [warning("PERFT_HOME", shown, advice)]
    return [ok("PERFT_HOME", shown)]


def temporary(place: Path | None = None) -> list[Finding]:
    """Whether Ray can write its sessions, sockets and logs."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) if place is None else place
    if not is_writable(folder):
        advice = "set TMPDIR and RAY_TMPDIR to a folder that you can write to"
        return [missing("temporary files", f"{folder} cannot be written", advice)]
    return [ok("temporary files", str(folder))]


def is_writable(folder: Path) -> bool:
    """Whether this user can write there, or make the folder; nothing is written."""
    nearest = _nearest(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    return next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:,.1f} GB"
