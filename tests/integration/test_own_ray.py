"""A search's own Ray: two of them do not meet, listen to nobody else and leave nothing behind."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest
from searches import SEARCH, SPACE, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

SIZE = ("--num-trials", "2", "--max-steps", "8", "--validation-size", "20", "--groups", "1")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files; Ray's sockets allow no long paths."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def is_loopback(text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def test_two_searches_at_once_both_finish(
    start: Callable[..., Job], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    first, second = (start(*SEARCH, *SPACE, *SIZE) for _ in range(2))
    first.until(lambda: first.workers)
    assert first.listening
    assert all(map(is_loopback, first.listening)), first.listening
    for job in (first, second):
        assert job.end() == 0, job.errors
        assert "starting a Ray of the search's own on this machine\n" in job.output
        assert "2 trials: " in job.output
    assert list(first.user.iterdir()) == [], "something was left in the user's home"
    assert (first.home / "ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert first.family.disappears()
    assert [file.name for file in short.iterdir()] == ["ray"]


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("loading the libraries", signal.SIGINT),
        ("starting a Ray of the search's own on this machine", signal.SIGTERM),
        ("the worker group is starting its processes", signal.SIGINT),
    ],
)
def test_a_search_is_ended_in_whatever_it_does(
    stage: str, number: signal.Signals, start: Callable[..., Job]
) -> None:
    job = start(*SEARCH, *SPACE, *SIZE, "--name", "ended-early")
    job.until(lambda: stage in job.output)
    job.send(number)
    assert job.end() == 130, job.errors
    assert job.errors.count("\n") <= 1, job.errors
    assert job.family.disappears()
