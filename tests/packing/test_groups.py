"""How worker groups are laid on the machines of a cluster."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.train
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from perft.errors import SearchError
from perft.packing.groups import (
    SLOTS_ON_A_GPU,
    TRIALS_ON_CPUS,
    GroupShape,
    WorkerGroups,
    _trainer_of,
    fit_to_cluster,
)

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


def callbacks_of(trainer: Any) -> list[str]:
    made = trainer(print, scaling_config=ray.train.ScalingConfig(num_workers=1))
    return [type(callback).__name__ for callback in made._create_default_callbacks()]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of Ray, by Ray
def test_a_group_starts_everything_of_ray_train_but_the_manager_of_datasets() -> None:
    lone = GroupShape(groups=1, workers=1, slots=1, use_gpu=False, cpus=1)
    usual = callbacks_of(DataParallelTrainer)
    usual.remove("DatasetsCallback")
    assert callbacks_of(_trainer_of(lone)) == usual
    assert callbacks_of(_trainer_of(dataclasses.replace(lone, workers=2))) == usual


def groups_whose_meeting_point_answers(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> WorkerGroups:
    def get(_ref: str) -> dict[str, Any]:
        if error is not None:
            raise error
        return {}

    monkeypatch.setattr(ray, "get", get)
    groups = object.__new__(WorkerGroups)
    groups.meeting = SimpleNamespace(status=SimpleNamespace(remote=lambda: "ref"))
    return groups


@pytest.mark.parametrize(
    "death",
    [
        RayActorError(),
        OutOfMemoryError("the memory monitor killed it"),
        NodeDiedError("its machine is gone"),
        WorkerCrashedError(),
    ],
)
def test_groups_are_lost_whatever_killed_their_meeting_point(
    death: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert groups_whose_meeting_point_answers(death, monkeypatch).are_lost
    assert not groups_whose_meeting_point_answers(None, monkeypatch).are_lost


def test_an_error_of_ours_in_the_meeting_point_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RayTaskError("status", "Traceback\nKeyError: 3", KeyError(3))
    with pytest.raises(RayTaskError):
        _ = groups_whose_meeting_point_answers(error, monkeypatch).are_lost
