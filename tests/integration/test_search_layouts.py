"""A search does not depend on how its worker groups are laid out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import results, told_by_search
from ray.cluster_utils import Cluster
from searches import FIRST_ROUND, REFERENCE, SEARCH, SIZE, SPACE, Job, starter

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
]

BOUND = 1e-6
"""Largest relative difference of validation losses in float64.

Sums over ranks and packs are taken in another order. Where AdamW divides by a gradient that
vanishes, or a token goes to another expert of the base, it enlarges that rounding a hundred
thousand times: in float32 the losses of one trial with a high rate differed by 5e-3, of most trials
by 3e-7.
"""

EXACT = (*SEARCH, *SPACE, *SIZE, "--dtype", "float64", "--tracker", "folder")
ONE_GROUP = (*EXACT, "--groups", "1", "--slots", str(FIRST_ROUND))
TWO_WORKERS = (*ONE_GROUP, "--workers-per-group", "2")
TWO_GROUPS = (*EXACT, "--groups", "2", "--slots", str(FIRST_ROUND // 2))


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
    assert max(apart) < BOUND


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The reference's search in float64."""
    for start in starter(tmp_path_factory.mktemp("exact")):
        job = start(*ONE_GROUP, "--name", REFERENCE)
        assert job.end() == 0, job.errors
        yield job


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The same with its base sharded over two workers."""
    for start in starter(tmp_path_factory.mktemp("shared")):
        job = start(*TWO_WORKERS, "--name", "shared")
        assert job.end() == 0, job.errors
        yield job


@pytest.mark.multi_rank
def test_two_workers_share_a_base(exact: Job, shared: Job):
    close_to_undisturbed(shared.home, "shared", exact)


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


def test_two_groups(exact: Job, start):
    job = start(*TWO_GROUPS, "--name", "beside")
    assert job.end() == 0, job.errors
    close_to_undisturbed(job.home, "beside", exact)


def test_the_groups_that_are_left_go_on_from_what_a_warned_machine_kept(
    exact: Job, start, monkeypatch: pytest.MonkeyPatch
):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    try:
        taken = cluster.add_node(num_cpus=1, num_gpus=0)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        job = start(*TWO_GROUPS, "--name", "taken")
        job.until(lambda: job.rungs >= FIRST_ROUND)
        warn(cluster, taken.node_id)
        job.until(lambda: "is about to be taken: the state of" in job.output)
        kept = job.home / "searches/taken/batches"
        with job.frozen():
            assert list(kept.glob("*/*/checksums.json")), "the round has ended meanwhile"
            cluster.remove_node(taken, allow_graceful=False)
        assert job.end() == 0, job.errors
        assert "a worker group resumes with" in job.output
        close_to_undisturbed(job.home, "taken", exact)
        assert not kept.exists() or not list(kept.iterdir())
    finally:
        cluster.shutdown()


def warn(cluster: Cluster, node: str) -> None:
    """Says that a machine will be taken, as an operator or an autoscaler does."""
    drain = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
    why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    after = ["--deadline-remaining-seconds", "600"]
    of = ["--address", cluster.address, "--node-id", node]
    subprocess.run([*drain, *of, *why, *after], check=True, stdout=subprocess.DEVNULL)
