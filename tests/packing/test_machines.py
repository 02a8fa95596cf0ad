"""What the machines of a cluster are asked before a search starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from perft.errors import ConfigError, SearchError
from perft.packing import machines
from perft.packing.machines import Node, gpu_memory, require_compilers, require_shared
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


def test_every_machine_with_a_gpu_is_asked_for_its_memory(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_memory", lambda: 7)
    assert gpu_memory(nodes) == 7


def test_storage_that_all_machines_see_is_shared(nodes: list[Node], tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write(FILE, b"{}")
    require_shared(storage, FILE, nodes)


def test_storage_of_this_machine_alone_is_refused(nodes: list[Node], tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"1 of the cluster's 3 machines .* \(it is not there\)"):
        require_shared(Storage(str(tmp_path)), FILE, nodes)


def test_without_gpus_all_others_with_cpus_are_asked(nodes: list[Node], tmp_path: Path) -> None:
    without = [{**node, "Resources": {"CPU": node["Resources"]["CPU"]}} for node in nodes]
    with pytest.raises(SearchError, match="2 of the cluster's 3 machines"):
        require_shared(Storage(str(tmp_path)), FILE, without)


def test_a_machine_that_cannot_reach_the_storage_says_why(
    nodes: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_unseen", lambda _place, _file: "no credentials")
    with pytest.raises(SearchError, match="no credentials"):
        require_shared(Storage(str(tmp_path)), FILE, nodes)


def test_machines_without_what_compiles_a_base_are_named(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "missing_compiler", lambda device: "" if device else "?")
    require_compilers(nodes)
    monkeypatch.setattr(machines, "missing_compiler", lambda device: f"a thing for {device}")
    with pytest.raises(ConfigError, match=r"a thing for cuda, .* there on .*--no-compile"):
        require_compilers(nodes)
    without = [{**node, "Resources": {"CPU": 1}} for node in nodes]
    with pytest.raises(ConfigError, match="a thing for cpu"):
        require_compilers(without)
