"""A search whose storage is an S3 server that often says 503: as on a disk, to its export."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import plain, results
from searches import FIRST_ROUND, REFERENCE, SEARCH, SIZE, SPACE, TRIALS, Job

from perft.selection import is_concluded, read_results
from perft.storage import Storage
from s3_server import CREDENTIALS, SLOW_DOWN, S3Server, s3_server

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

REFUSED = 3
"""One of so many requests is refused."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as server:
        count = itertools.count(1)
        server.fault = lambda _request: SLOW_DOWN if next(count) % REFUSED == 0 else None
        yield server


def test_a_busy_store_changes_nothing(server: S3Server, reference: Job, start, tmp_path: Path):
    place = server.uri("some%20searches")
    at = ("--name", "far", "--storage", place)
    job = start(*SEARCH, *SPACE, *SIZE, "--groups", "1", "--slots", str(FIRST_ROUND), *at)
    assert job.end() == 0, job.errors
    assert job.errors == ""
    search = Storage(place).child("far")
    assert is_concluded(search, TRIALS)
    found = {result.number: plain(result) for result in read_results(search)}
    assert found == results(reference.home, REFERENCE)
    assert "plot:    s3://bucket/some%20searches/far/pareto.html\n" in job.output

    front = start("jobs/pareto.py", *at, "--json")
    assert front.end() == 0, front.errors
    assert json.loads(front.output)["front"]
    out = tmp_path / "adapter"
    export = start("jobs/export.py", *at, "--out", str(out))
    assert export.end() == 0, export.errors
    assert (out / "adapter_config.json").is_file()
