"""How worker groups are laid on the machines of a cluster."""

import pytest

from perft.errors import SearchError
from perft.packing.shape import SLOTS_ON_A_GPU, TRIALS_ON_CPUS, GroupShape, fit_to_cluster

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
    shape = fit_to_cluster(groups, workers, 8, nodes, 16)
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
    shape = fit_to_cluster(1, workers, 8, nodes, 16)
    assert (shape.cpus, shape.use_gpu) == (cpus, True)


@pytest.mark.parametrize(
    ("cpus", "workers", "num_trials", "groups", "slots"),
    [
        (1, 1, 16, 1, 4),
        (2, 1, 16, 2, 2),
        (3, 1, 16, 2, 2),
        (2, 2, 16, 1, 4),
        (64, 1, 16, 4, 1),
        (64, 1, 3, 2, 2),
        (64, 1, 1, 1, 4),
    ],
)
def test_cpus_train_the_same_number_of_trials_at_once_however_many_they_are(
    cpus: int, workers: int, num_trials: int, groups: int, slots: int
):
    shape = fit_to_cluster(None, workers, None, [{"CPU": float(cpus)}], num_trials)
    assert (shape.groups, shape.slots) == (groups, slots)
    assert shape.trials_at_once == TRIALS_ON_CPUS


@pytest.mark.parametrize(
    ("workers", "num_trials", "groups"), [(1, 99, 8), (2, 99, 4), (3, 99, 2), (1, 3, 3)]
)
def test_all_gpus_are_used_unless_said_otherwise(workers: int, num_trials: int, groups: int):
    shape = fit_to_cluster(None, workers, None, [GPU_NODE, GPU_NODE], num_trials)
    assert (shape.groups, shape.slots) == (groups, SLOTS_ON_A_GPU)


def test_wishes_come_first():
    shape = fit_to_cluster(1, 1, None, [{"CPU": 2.0}], 16)
    assert (shape.groups, shape.slots, shape.cpus) == (1, TRIALS_ON_CPUS, 2)
    shape = fit_to_cluster(None, 1, 7, [{"CPU": 2.0}], 16)
    assert (shape.groups, shape.slots) == (2, 7)


def test_auto_on_a_cluster_too_small_for_one_group():
    with pytest.raises(SearchError, match="1 groups of 5 workers need 5 GPUs"):
        fit_to_cluster(None, 5, None, [GPU_NODE], 16)


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
        fit_to_cluster(groups, workers, 8, nodes, 16)


A100, T4 = ({"CPU": 8.0, "GPU": 2.0, f"accelerator_type:{kind}": 1.0} for kind in ("A100", "T4"))


@pytest.mark.parametrize(
    ("groups", "nodes", "accelerator", "fit"),
    [
        (None, [A100, A100, T4], "A100", 4),
        (2, [A100, T4, T4], "T4", 2),
        (4, [A100, T4], "", 4),  # none has room for all
        (1, [A100 | {"CPU": 0.0}, T4 | {"GPU": 1.0}], "T4", 1),
        (None, [A100, A100], "", 4),
        (1, [T4, {"CPU": 8.0, "GPU": 8.0}], "", 1),  # Ray does not know the kind of the most
    ],
)
def test_workers_have_gpus_of_one_kind_where_these_suffice(
    groups: int | None, nodes: list, accelerator: str, fit: int
):
    shape = fit_to_cluster(groups, 1, 8, nodes, 16)
    assert (shape.accelerator, shape.groups) == (accelerator, fit)


def test_cpus_may_be_asked_for_where_there_are_gpus():
    shape = fit_to_cluster(None, 1, None, [GPU_NODE, {"CPU": 4.0}], 16, gpus=0.0)
    assert (shape.use_gpu, shape.groups, shape.cpus, shape.each) == (False, 4, 8, {"CPU": 8})


def test_gpus_may_be_asked_for_where_there_are_none():
    with pytest.raises(SearchError, match="1 groups of 1 workers need 1 GPUs, the cluster has 0"):
        fit_to_cluster(None, 1, None, [{"CPU": 4.0}], 16, gpus=1.0)


def test_lone_workers_share_a_gpu():
    shape = fit_to_cluster(None, 1, None, [{"CPU": 8.0, "GPU": 2.0}], 16, gpus=0.5)
    assert (shape.groups, shape.cpus) == (4, 2)
    assert shape.needs == "1 x (2 CPU, 0.5 GPU)"


def test_a_group_says_what_it_needs():
    shape = GroupShape(groups=2, workers=8, slots=1, gpus=1.0, cpus=3, accelerator="A100")
    assert shape.needs == "8 x (3 CPU, 1 GPU A100)"
