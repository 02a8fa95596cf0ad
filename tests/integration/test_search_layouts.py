"""A search does not depend on how its worker groups are laid out."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from books import results, told_by_search
from searches import FIRST_ROUND, REFERENCE, SEARCH, SIZE, SPACE, Job, starter

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
]

LARGEST, TYPICAL = 5e-3, 1e-5
"""Relative differences of validation losses: of any, and of most.

Sums over ranks and packs are taken in another order. That rounding alone changes a loss by some
1e-6; where it sends a token to another expert of the base, or where AdamW enlarges it since a
gradient vanishes, by more. Measured: 6e-4 and 2e-7 for ranks, 8e-5 and 3e-7 for groups.
"""

TWO_WORKERS = (
    *SEARCH,
    *SPACE,
    *SIZE,
    "--groups",
    "1",
    "--slots",
    str(FIRST_ROUND),
    "--workers-per-group",
    "2",
)


def close_to_undisturbed(home: Path, name: str, reference: Job) -> None:
    told, wanted = told_by_search(home, name), told_by_search(reference.home, REFERENCE)
    assert {number: ended.outcome for number, ended in told.items()} == {
        number: ended.outcome for number, ended in wanted.items()
    }
    apart = []
    for number, ended in wanted.items():
        for (step, loss), (same_step, other) in zip(told[number].losses, ended.losses, strict=True):
            assert step == same_step
            apart.append(abs(loss / other - 1))
    assert max(apart) < LARGEST
    assert median(apart) < TYPICAL


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The reference's search with its base sharded over two workers."""
    for start in starter(tmp_path_factory.mktemp("shared")):
        job = start(*TWO_WORKERS, "--name", "shared")
        assert job.end() == 0, job.errors
        yield job


@pytest.mark.multi_rank
def test_two_workers_share_a_base(reference: Job, shared: Job):
    close_to_undisturbed(shared.home, "shared", reference)


@pytest.mark.multi_rank
def test_a_killed_rank_changes_nothing(shared: Job, start):
    job = start(*TWO_WORKERS, "--name", "hurt")
    job.until(lambda: job.rungs >= FIRST_ROUND)
    before = set(job.workers)
    assert job.kill_worker_at_work(after=FIRST_ROUND) in before
    # One death takes the whole group with it: both ranks are new.
    job.until(lambda: len(set(job.workers) - before) == 2)
    assert job.end() == 0, job.errors
    assert results(job.home, "hurt") == results(shared.home, "shared")


def test_two_groups(reference: Job, start):
    shape = ("--slots", str(FIRST_ROUND // 2), "--groups", "2")
    job = start(*SEARCH, *SPACE, *SIZE, *shape, "--name", "beside")
    assert job.end() == 0, job.errors
    close_to_undisturbed(job.home, "beside", reference)
