"""One process at a time runs a search; the lock of a dead one is taken over."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from perft.errors import SearchError
from perft.search.lock import LOCK, OWNER, locked
from perft.storage import Storage

PROGRAM = """
import sys, time
from perft.search.lock import locked
from perft.storage import Storage
with locked(Storage(sys.argv[1]), "first"):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["directory", "file URI"])
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path) if request.param == "directory" else tmp_path.as_uri())


def test_a_second_process_is_refused_until_the_first_is_dead(search: Storage) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, search.place], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        running = rf"'first' is running as process {first.pid} on {socket.gethostname()}; let it en"
        with pytest.raises(SearchError, match=running), locked(search, "first"):
            pass
        first.kill()
        first.wait()
    with locked(search, "first"):
        assert json.loads(search.read(OWNER))["pid"] == os.getpid()
    assert not search.exists(LOCK)


def left_behind(search: Storage, **changes: Any) -> None:
    """The lock that this very process would leave, but for some changes."""
    with locked(search, "first"):
        owner = json.loads(search.read(OWNER))
    search.write(OWNER, json.dumps(owner | changes).encode())


def test_a_process_of_another_machine_may_live(search: Storage) -> None:
    left_behind(search, host="elsewhere")
    message = rf"on elsewhere; let it end, or, if that process is gone, remove {search.place}/lock"
    with pytest.raises(SearchError, match=message), locked(search, "first"):
        pass


@pytest.mark.parametrize("changes", [{"started": 1.0}, {"pid": "no number"}, {"more": 1}])
def test_a_number_given_to_another_process_is_no_owner(
    search: Storage, changes: dict[str, Any]
) -> None:
    left_behind(search, **changes)
    with locked(search, "first"):
        pass


def test_of_many_who_take_over_one_gets_it(tmp_path: Path) -> None:
    search = Storage(str(tmp_path))
    left_behind(search, started=1.0)

    def take(_: int) -> bool:
        try:
            with locked(search, "first"):
                both.append(1)
                assert len(both) == 1
                both.clear()
                return True
        except SearchError:
            return False

    both: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(take, range(8)))
