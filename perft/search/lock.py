"""One process at a time runs a search: a lock in the search's folder names it.

A process that was killed leaves its lock behind, which the next one on that machine takes over.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from perft.errors import SearchError
from perft.storage import Storage

LOCK, OWNER = "lock", "lock/owner.json"


@contextlib.contextmanager
def locked(search: Storage, name: str) -> Iterator[None]:
    """Inside, the search is this process's.

    Args:
        search: its folder.
        name: what to call it.

    Raises:
        SearchError: if another process that lives, or may live on another machine, runs it.
        StorageError: if the folder cannot be written.
    """
    me = _me()
    with _one_at_a_time(search):
        while not search.claim(LOCK):
            if (owner := _owner(search)) is not None and _may_live(owner):
                raise SearchError(_refusal(search, name, owner))
            search.delete(LOCK)
        search.write(OWNER, json.dumps(me).encode())
    try:
        yield
    finally:
        unlock(search)


def unlock(search: Storage) -> None:
    """Gives the search up, if it is this process's."""
    if _owner(search) == _me():
        search.delete(LOCK)


def _one_at_a_time(search: Storage) -> contextlib.AbstractContextManager[Any]:
    """Keeps two from taking over one lock, where the storage is a disk."""
    if "://" in search.place:
        return contextlib.nullcontext()
    return FileLock(Path(search.place) / ".taking")


def _me() -> dict[str, Any]:
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _owner(search: Storage) -> dict[str, Any] | None:
    if not search.exists(OWNER):
        return None
    with contextlib.suppress(ValueError):
        owner = json.loads(search.read(OWNER))
        if isinstance(owner, dict) and owner.keys() == _me().keys():
            return owner
    return None


def _may_live(owner: dict[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():
        return True
    try:
        return bool(psutil.Process(owner["pid"]).create_time() == owner["started"])
    except (psutil.Error, TypeError, ValueError):
        return False


def _refusal(search: Storage, name: str, owner: dict[str, Any]) -> str:
    here = owner["host"] == socket.gethostname()
    return f"search {name!r} is running as process {owner['pid']} on {owner['host']}; " + (
        "let it end, or stop it"
        if here
        else f"let it end, or, if that process is gone, remove {search.place}/{LOCK}"
    )
