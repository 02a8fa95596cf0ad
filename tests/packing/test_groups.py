"""How worker groups are laid on the machines of a cluster."""

import pytest

from perft.errors import SearchError
from perft.packing.groups import fit_to_cluster

GPU_NODE = {"CPU": 32.0, "GPU": 4.0, "memory": 1e11}


@pytest.mark.parametrize(
    ("groups", "workers", "nodes", "cpus"),
    [
        (1, 1, [{"CPU": 2.0}], 2),
        (1, 2, [{"CPU": 2.0}], 1),
        (2, 1, [{"CPU": 5.0}], 2),
        (1, 1, [{"CPU": 8.0}, {"CPU": 4.0}], 8),  # a worker cannot lie on two machines
        (1, 3, [{"CPU": 8.0}, {"CPU": 4.0}], 4),
        (3, 1, [{}, {"CPU": 2.0}, {"CPU": 9.0}], 3),
    ],
)
def test_workers_share_the_cpus(groups: int, workers: int, nodes: list, cpus: int):
    shape = fit_to_cluster(groups, workers, 8, nodes)
    assert (shape.groups, shape.workers, shape.slots) == (groups, workers, 8)
    assert (shape.cpus, shape.use_gpu) == (cpus, False)


@pytest.mark.parametrize(
    ("workers", "nodes", "cpus"),
    [
        (1, [GPU_NODE], 32),
        (4, [GPU_NODE], 8),
        (5, [GPU_NODE, GPU_NODE], 10),
        (8, [GPU_NODE, GPU_NODE], 8),
        (4, [GPU_NODE, {"CPU": 500.0}], 8),  # a machine without GPUs holds no worker
    ],
)
def test_every_worker_has_a_gpu_where_there_are_gpus(workers: int, nodes: list, cpus: int):
    shape = fit_to_cluster(1, workers, 8, nodes)
    assert (shape.cpus, shape.use_gpu) == (cpus, True)


@pytest.mark.parametrize(
    ("groups", "workers", "nodes", "message"),
    [
        (2, 2, [{"CPU": 2.0}], "2 groups of 2 workers need 4 CPUs, the cluster has 2; lower"),
        (1, 5, [GPU_NODE], "1 groups of 5 workers need 5 GPUs, the cluster has 4; lower"),
        (1, 4, [{"CPU": 2.0, "GPU": 4.0}], "need 4 CPUs, the cluster has 2"),
        (1, 4, [{"CPU": 2.0, "GPU": 4.0}, GPU_NODE | {"GPU": 1.0}], "of the same machine"),
        (1, 1, [{}], "1 groups of 1 workers need 1 CPUs, the cluster has 0"),
    ],
)
def test_cluster_that_is_too_small(groups: int, workers: int, nodes: list, message: str):
    with pytest.raises(SearchError, match=message):
        fit_to_cluster(groups, workers, 8, nodes)
