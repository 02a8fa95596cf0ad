"""One undisturbed search, made once: what disturbed and spread-out ones are compared with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from searches import FIRST_ROUND, REFERENCE, SEARCH, SIZE, SPACE, Job, starter


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Starts a program as `Job` does, in a home of the test's own; leaves nothing running."""
    yield from starter(tmp_path / "home")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A search of SIZE in one group of one worker, ended, with nobody in its way."""
    for start in starter(tmp_path_factory.mktemp("reference")):
        slots = ("--groups", "1", "--slots", str(FIRST_ROUND))
        job = start(*SEARCH, *SPACE, *SIZE, *slots, "--name", REFERENCE)
        assert job.end() == 0, job.errors
        yield job
