"""One process at a time runs a search: a file in the search's folder says which.

A process that wants the search writes a claim, and has it if there is no other claim by then; two
that start at once both see the other's claim, withdraw, and try again. The storage only has to
list files that were written, so it works on object stores too.

The claim of a process that has died is removed by the next one: on its own machine at once, from
another one when it has not been renewed for `STALE_SECONDS`.
"""

import contextlib
import json
import math
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from perft.errors import PerftError, SearchError, StorageError
from perft.files import parse_json
from perft.search_folder import LOCK, claim_file
from perft.storage import Storage

BEAT_SECONDS = 30.0
"""How often a claim is renewed."""

STALE_SECONDS = 300.0
"""Age of a claim after which a process of another machine counts as dead."""

TRIES, TRY_SECONDS = 5, 1.0
"""Tries of processes that start at once, and the longest time between two tries."""


@contextlib.contextmanager
def locked(search: Storage, name: str, tell: Callable[[str], None] = print) -> Iterator[None]:
    """Inside, this process alone runs the search.

    Args:
        search: its folder.
        name: its name, for errors.
        tell: shows the user a line.

    Raises:
        SearchError: if another process that lives, or may live on another machine, runs it.
        StorageError: if the folder cannot be written.
    """
    claim, done = claim_file(uuid.uuid4().hex), threading.Event()
    _take(search, name, claim)
    beating = threading.Thread(target=_beat, args=(search, claim, done, tell), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join(TRY_SECONDS)  # a storage that does not answer must not block it
        with contextlib.suppress(StorageError):
            search.delete(claim)


def unlock(search: Storage) -> None:
    """Releases the search, if this process holds it, as if `locked` had ended."""
    for name in search.names(LOCK):
        owner = _read(search, f"{LOCK}/{name}")
        if owner is not None and _me().items() <= owner.items():
            search.delete(f"{LOCK}/{name}")


def is_locked(search: Storage) -> bool:
    """Whether a process runs the search, as far as this machine can see.

    Raises:
        StorageError: if the folder cannot be read.
    """
    owners = (_read(search, f"{LOCK}/{name}") for name in search.names(LOCK))
    return any(owner is not None and _may_live(owner) for owner in owners)


def _take(search: Storage, name: str, claim: str) -> None:
    for left in reversed(range(TRIES)):
        try:
            _write(search, claim)
            others = _living(search, claim)
        except BaseException:
            with contextlib.suppress(PerftError):
                search.delete(claim)
            raise
        if not others:
            return
        search.delete(claim)
        here = next(iter(others.values()))
        if not left or abs(time.time() - here["beat"]) > TRIES * TRY_SECONDS:
            raise SearchError(_refusal(search, name, others))
        time.sleep(random.uniform(0.0, TRY_SECONDS))


def _beat(search: Storage, claim: str, done: threading.Event, tell: Callable[[str], None]) -> None:
    """Renews the claim; stops the search whose claim is gone, since another process has it."""
    while not done.wait(BEAT_SECONDS):
        with contextlib.suppress(StorageError):  # it may be there again next time
            if not search.exists(claim):
                tell("another process has taken this search over")
                # A real signal: `interrupt_main` would not wake a blocking call.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
            _write(search, claim)


def _write(search: Storage, claim: str) -> None:
    search.write(claim, json.dumps({**_me(), "beat": time.time()}).encode())


def _me() -> dict[str, Any]:
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _living(search: Storage, claim: str) -> dict[str, dict[str, Any]]:
    """Claims of other processes that may be alive, by name; removes those of dead ones."""
    found = {}
    for name in search.names(LOCK):
        if (other := f"{LOCK}/{name}") == claim:
            continue
        owner = _read(search, other)
        if owner is not None and _may_live(owner):
            found[other] = owner
        else:
            search.delete(other)
    return found


def _read(search: Storage, claim: str) -> dict[str, Any] | None:
    """The owner of a claim; None if it was withdrawn or is damaged."""
    try:
        owner = parse_json(search.read(claim))
    except ValueError:
        return None
    except StorageError:
        if search.exists(claim):
            raise
        return None
    if not (isinstance(owner, dict) and {"host", "pid", "started"} <= owner.keys()):
        return None
    beat = owner.get("beat")
    return {**owner, "beat": beat if isinstance(beat, float) else math.inf}


def _may_live(owner: dict[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():
        return bool(time.time() - owner["beat"] < STALE_SECONDS)
    try:
        return bool(psutil.Process(owner["pid"]).create_time() == owner["started"])
    except (psutil.Error, TypeError, ValueError):
        return False


def _refusal(search: Storage, name: str, others: dict[str, dict[str, Any]]) -> str:
    claim, owner = next(iter(others.items()))
    return f"search {name!r} is running as process {owner['pid']} on {owner['host']}; " + (
        "let it end, or stop it"
        if owner["host"] == socket.gethostname()
        else f"let it end, or, if that process is gone, remove {search.shown}/{claim} or wait "
        f"until nothing is heard of it for {STALE_SECONDS / 60:.0f} minutes"
    )
