import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from perft.search_folder import LOCK
from perft.searching import restart
from perft.searching.lock import locked
from perft.searching.restart import Restart, deaths
from perft.searching.watch import watched
from perft.storage import Storage

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def child():
    with subprocess.Popen(SLEEPS) as process:
        yield process
        process.kill()


def test_a_death_is_told_once(child: subprocess.Popen):
    told, heard = [], threading.Event()

    def died(name: str) -> None:
        told.append(name)
        heard.set()

    name = psutil.Process(child.pid).name()
    with watched([psutil.Process(), psutil.Process(child.pid)], died):
        assert told == []
        child.kill()
        heard.wait()
    assert told == [name]


def test_nothing_is_told_of_what_dies_later(child: subprocess.Popen):
    told: list[str] = []
    with watched([psutil.Process(child.pid)], told.append):
        pass
    child.kill()
    child.wait()
    assert told == []


@pytest.mark.parametrize(
    ("environment", "reports", "expected"),
    [
        ({}, 3, 1),
        ({"PERFT_RAYS_DIED": "3 2"}, 3, 3),
        ({"PERFT_RAYS_DIED": "3 2"}, 4, 1),
        ({"PERFT_RAYS_DIED": "odd"}, 0, 1),
    ],
)
def test_rays_count_as_dead_in_a_row_until_there_is_a_report(environment, reports, expected):
    assert deaths(reports, environment) == expected


def restarting(search: Storage, environment: dict[str, str], said: list[str]) -> Restart:
    return Restart(
        command=[sys.executable, "-c", "print('anew')"],
        name="mine",
        search=search,
        environment=environment,
        tell=said.append,
    )


def test_the_command_takes_the_place_of_the_process_and_clears_up_behind_it(
    tmp_path: Path, child: subprocess.Popen, monkeypatch: pytest.MonkeyPatch
):
    search, said, ran = Storage(str(tmp_path)), [], []

    class ReplacedError(Exception):
        """The process would be another from here on."""

    def execve(program: str, command: list[str], environment: dict[str, str]) -> None:
        ran.append((program, command, environment))
        raise ReplacedError

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(restart, "_close_on_exec", lambda: None)
    with locked(search, "mine"), pytest.raises(ReplacedError):
        restarting(search, {"KEPT": "1"}, said)._resume("raylet", reports=5)
    assert said == ["Ray's process raylet has died; the search resumes from what is saved"]
    ((program, command, environment),) = ran
    assert [program, *command[1:]] == restarting(search, {}, []).command
    assert environment == {"KEPT": "1", "PERFT_RAYS_DIED": "5 1"}

    with locked(search, "mine"):  # as if the process had gone without a word
        restarting(search, environment, said).clear()
        assert search.names(LOCK) == []
    assert not psutil.pid_exists(child.pid)


def test_a_process_that_replaces_none_clears_nothing_up(tmp_path: Path, child: subprocess.Popen):
    search = Storage(str(tmp_path))
    with locked(search, "mine"):
        restarting(search, {}, []).clear()
        assert search.names(LOCK) != []
    assert child.poll() is None
