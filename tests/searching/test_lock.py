"""One process at a time runs a search; the claim of a dead one is taken over."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from perft.errors import SearchError, StorageError
from perft.search_folder import LOCK
from perft.searching import lock
from perft.searching.lock import STALE_SECONDS, locked
from perft.storage import Storage

PROGRAM = """
import sys, time
from perft.searching.lock import locked
from perft.storage import Storage
with locked(Storage(sys.argv[1]), "first"):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["directory", "file URI"])
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path) if request.param == "directory" else tmp_path.as_uri())


def owner(search: Storage) -> dict[str, Any]:
    (name,) = search.names(LOCK)
    found = json.loads(search.read(f"{LOCK}/{name}"))
    assert isinstance(found, dict)
    return found


def test_a_second_process_is_refused_until_the_first_is_dead(search: Storage) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, search.uri], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        running = rf"'first' is running as process {first.pid} on {socket.gethostname()}; let it en"
        with pytest.raises(SearchError, match=running), locked(search, "first"):
            pass
        first.kill()
        first.wait()
    with locked(search, "first"):
        assert owner(search)["pid"] == os.getpid()
    assert search.names(LOCK) == []


def left_behind(search: Storage, **changes: Any) -> None:
    """The claim that this very process would leave, but for some changes."""
    with locked(search, "first"):
        mine = owner(search)
    search.write(f"{LOCK}/left.json", json.dumps(mine | changes).encode())


@pytest.mark.parametrize("beat", [None, -60.0, 60.0])  # of an older perft, and of unlike clocks
def test_a_process_of_another_machine_may_live(search: Storage, beat: float | None) -> None:
    left_behind(search, host="elsewhere", beat=beat and time.time() + beat)
    message = (
        rf"on elsewhere; let it end, or, if that process is gone, remove {search.uri}/lock/left"
        r"\.json or wait until nothing is heard of it for 5 minutes"
    )
    with pytest.raises(SearchError, match=message), locked(search, "first"):
        pass


def test_of_a_process_of_another_machine_nothing_was_heard_for_long(search: Storage) -> None:
    left_behind(search, host="elsewhere", beat=time.time() - STALE_SECONDS)
    with locked(search, "first"):
        assert owner(search)["host"] == socket.gethostname()


@pytest.mark.parametrize("changes", [{"started": 1.0}, {"pid": "no number"}])
def test_a_number_given_to_another_process_is_no_owner(
    search: Storage, changes: dict[str, Any]
) -> None:
    left_behind(search, **changes)
    with locked(search, "first"):
        pass


def test_a_claim_that_cannot_be_read_is_not_that_of_a_dead_one(
    search: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(search, started=1.0)

    def read(_self: Storage, name: str) -> bytes:
        raise StorageError("503: slow down")

    monkeypatch.setattr(Storage, "read", read)
    with pytest.raises(StorageError, match="slow down"), locked(search, "first"):
        pass
    assert search.names(LOCK) == ["left.json"]


@pytest.mark.parametrize("left", [True, False])
def test_of_many_who_come_at_once_never_two_have_it(
    left: bool, search: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "TRY_SECONDS", 0.05)
    if left:
        left_behind(search, started=1.0)
    inside: list[int] = []

    def take(_: int) -> bool:
        try:
            with locked(search, "first"):
                inside.append(1)
                assert len(inside) == 1
                time.sleep(0.01)
                inside.clear()
                return True
        except SearchError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(take, range(16)))
    assert search.names(LOCK) == []


def test_a_claim_is_renewed_and_who_has_lost_it_stops(
    search: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    said: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with locked(search, "first", said.append):
            first = owner(search)["beat"]
            while owner(search)["beat"] == first:
                time.sleep(0.01)
            (name,) = search.names(LOCK)
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
                search.delete(f"{LOCK}/{name}")
                threading.Event().wait(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert said == ["another process has taken this search over"]
