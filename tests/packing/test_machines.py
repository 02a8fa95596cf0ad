"""What the machines of a cluster are asked before a search starts."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from packing.simulator import config_of
from perft.errors import ConfigError, SearchError
from perft.packing import machines
from perft.packing.coordinator import Coordinator
from perft.packing.groups import calls_at_once
from perft.packing.machines import (
    Node,
    free_resources,
    gpu_memory,
    machines_requested,
    require_compilers,
    require_shared,
    waiting_groups,
)
from perft.packing.messages import SearchOver
from perft.packing.shape import GroupShape
from perft.storage import Storage

pytestmark = pytest.mark.ray

FILE = "search.json"


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """This machine, one with a GPU, and one without."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.add_node(num_cpus=1, num_gpus=0)
    ray.init(cluster.address, log_to_driver=False)
    yield ray.nodes()
    ray.shutdown()
    cluster.shutdown()


def test_a_machine_is_asked_for_its_gpus_memory_while_they_are_busy(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_memory", lambda: 7)
    busy = ray.remote(num_cpus=0, num_gpus=1)(lambda: time.sleep(600)).remote()
    while ray.available_resources().get("GPU"):
        time.sleep(0.1)
    assert gpu_memory(nodes) == 7
    assert free_resources(nodes).endswith("1 GPU (0 free)")
    ray.cancel(busy, force=True)


def test_a_gpu_that_ray_counts_and_nobody_finds(nodes: list[Node]) -> None:
    with pytest.raises(SearchError, match=r"does not say \(.*torch finds none\) how much memory"):
        gpu_memory(nodes)


def test_a_machine_that_does_not_answer_is_named(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_memory", lambda: time.sleep(600))
    monkeypatch.setattr(machines, "ANSWER_SECONDS", 0.1)
    with pytest.raises(SearchError, match=r"does not say within 0 s how .* GPU has; say --slots N"):
        gpu_memory(nodes)


def test_groups_that_find_no_room_are_counted(nodes: list[Node]) -> None:
    shape = GroupShape(groups=2, workers=2, slots=1, gpus=1.0, cpus=1)
    with machines_requested(shape):
        while (found := waiting_groups(shape)) < 2:
            time.sleep(0.1)
        assert found == 2
        assert waiting_groups(dataclasses.replace(shape, cpus=2)) == 0
    while waiting_groups(shape):
        time.sleep(0.1)


def test_more_trials_may_wait_than_ray_holds_open_by_itself(nodes: list[Node]) -> None:
    trials = 1200
    shape = GroupShape(groups=1, workers=1, slots=trials, gpus=0.0, cpus=1)
    actor = ray.remote(num_cpus=0, max_concurrency=calls_at_once(shape))(Coordinator)
    coordinator = actor.remote(1, trials, trials, (10,))
    waiting = [coordinator.next_report.remote(trial, config_of(10), 0) for trial in range(trials)]
    work = ray.get(coordinator.next_work.remote(0, None), timeout=60)
    assert len(work.assignments) == trials
    ray.get(coordinator.give_up.remote("over"), timeout=60)
    assert ray.get(waiting, timeout=60) == [SearchOver("over")] * trials


def test_storage_that_all_machines_see_is_shared(nodes: list[Node], tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write(FILE, b"{}")
    require_shared(storage, FILE, nodes, gpus=True)


def test_storage_of_this_machine_alone_is_refused(nodes: list[Node], tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"1 of the cluster's 3 machines .* \(it is not there\)"):
        require_shared(Storage(str(tmp_path)), FILE, nodes, gpus=True)


def test_without_gpus_all_others_with_cpus_are_asked(nodes: list[Node], tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="2 of the cluster's 3 machines"):
        require_shared(Storage(str(tmp_path)), FILE, nodes, gpus=False)


def test_a_machine_that_cannot_reach_the_storage_says_why(
    nodes: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_unseen", lambda _place, _file: "no credentials")
    with pytest.raises(SearchError, match="no credentials"):
        require_shared(Storage(str(tmp_path)), FILE, nodes, gpus=True)


def test_machines_without_what_compiles_a_base_are_named(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "missing_compiler", lambda device: "" if device else "?")
    require_compilers(nodes, gpus=True)
    monkeypatch.setattr(machines, "missing_compiler", lambda device: f"a thing for {device}")
    with pytest.raises(ConfigError, match=r"a thing for cuda, .* there on .*--no-compile"):
        require_compilers(nodes, gpus=True)
    with pytest.raises(ConfigError, match="a thing for cpu"):
        require_compilers(nodes, gpus=False)
