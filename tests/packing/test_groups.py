"""How worker groups are started, and how their death is told from other errors."""

import dataclasses
import gc
import sys
import threading
import time
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

from perft.packing.groups import WorkerGroups, _trainer_of, _work
from perft.packing.handle import CoordinatorHandle
from perft.packing.messages import GroupStatus
from perft.packing.shape import GroupShape


def callbacks_of(trainer: Any) -> list[str]:
    made = trainer(print, scaling_config=ray.train.ScalingConfig(num_workers=1))
    return [type(callback).__name__ for callback in made._create_default_callbacks()]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of Ray, by Ray
def test_a_group_starts_everything_of_ray_train_but_the_manager_of_datasets() -> None:
    lone = GroupShape(groups=1, workers=1, slots=1, gpus=0, cpus=1)
    usual = callbacks_of(DataParallelTrainer)
    usual.remove("DatasetsCallback")
    assert callbacks_of(_trainer_of(lone)) == usual
    assert callbacks_of(_trainer_of(dataclasses.replace(lone, workers=2))) == usual


def test_what_has_not_begun_need_not_be_ended() -> None:
    lone = GroupShape(groups=1, workers=1, slots=1, gpus=0, cpus=1)
    _trainer_of(lone)(print, scaling_config=ray.train.ScalingConfig(num_workers=1)).end()


class LateTrainer:
    """Begins only some time after it was told to, and runs until it is ended."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def fit(self) -> None:
        time.sleep(0.3)
        self.begun.set()
        assert self.over.wait(60)

    def end(self) -> None:
        if self.begun.is_set():
            self.over.set()


def test_no_thread_of_a_group_is_left_when_the_groups_have_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainers = [LateTrainer() for _ in range(3)]
    killed: list[object] = []
    monkeypatch.setattr(ray, "get", lambda _ref, timeout: GroupStatus(started=()))
    monkeypatch.setattr(ray, "kill", killed.append)
    groups = object.__new__(WorkerGroups)
    call = SimpleNamespace(remote=lambda: "ref")
    actor: Any = SimpleNamespace(status=call, stop=call)
    groups.coordinator = CoordinatorHandle(actor)
    groups._trainers = dict(enumerate(trainers[:2]))  # one has none yet
    groups._threads = [threading.Thread(target=each.fit) for each in trainers]
    for thread in groups._threads:
        thread.start()
    threading.Timer(0.6, groups._trainers.__setitem__, (2, trainers[2])).start()
    groups.stop()
    assert killed == [actor]
    assert not [thread for thread in groups._threads if thread.is_alive()]


def groups_whose_meeting_point_answers(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> WorkerGroups:
    def get(_ref: str, timeout: float) -> GroupStatus:
        if error is not None:
            raise error
        return GroupStatus()

    monkeypatch.setattr(ray, "get", get)
    groups = object.__new__(WorkerGroups)
    actor: Any = SimpleNamespace(status=SimpleNamespace(remote=lambda: "ref"))
    groups.coordinator = CoordinatorHandle(actor)
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


def test_a_machine_on_which_a_worker_cannot_be_imported_ends_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    coordinator = SimpleNamespace(
        stage=SimpleNamespace(remote=lambda *words: told.append(words)),
        give_up=SimpleNamespace(remote=told.append),
    )
    settings = SimpleNamespace(group=3, coordinator="coordinator", namespace="search")
    monkeypatch.setattr(ray, "get_actor", lambda _name, namespace: coordinator)
    monkeypatch.setattr(ray, "get", lambda _ref, timeout: None)
    monkeypatch.setitem(sys.modules, "perft.packing.worker", None)
    try:
        _work({"settings": settings})
    finally:
        gc.enable()
    assert told[0] == (3, "importing")
    assert told[1].startswith("worker group 3 cannot start: ModuleNotFoundError: ")


def test_a_worker_of_a_meeting_point_that_has_died_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_actor(name: str, namespace: str) -> None:
        raise ValueError(f"no actor {name} in {namespace}")

    monkeypatch.setattr(ray, "get_actor", get_actor)
    settings = SimpleNamespace(group=3, coordinator="coordinator", namespace="search")
    _work({"settings": settings})
