"""The user hears what worker groups do until they train, and whether they wait for room."""

from types import SimpleNamespace
from typing import Any

import pytest

from perft.packing.messages import GroupStatus
from perft.packing.shape import GroupShape
from perft.searching import announce as module
from perft.searching.announce import announce, doing

SHAPE = GroupShape(groups=2, workers=4, slots=1, gpus=1, cpus=3)
ONE = GroupShape(groups=1, workers=1, slots=4, gpus=0, cpus=2)


def status(*ready: int, fatal: str = "", **stages: str) -> GroupStatus:
    """What the coordinator says, the stages as of `g0`, `g1` and so on."""
    told = {int(name[1:]): text for name, text in stages.items()}
    return GroupStatus(ready=ready, stages=told, fatal=fatal)


@pytest.mark.parametrize(
    ("shape", "found", "waiting", "text"),
    [
        (ONE, status(), 0, "the worker group is starting its processes"),
        (ONE, status(g0="importing"), 0, "the worker group is importing"),
        (
            SHAPE,
            status(g1="loading the base"),
            0,
            "0 of 2 worker groups are ready; group 0 is starting its processes",
        ),
        (
            SHAPE,
            status(0, g0="loading the base", g1="importing"),
            0,
            "1 of 2 worker groups are ready, and train for all; group 1 is importing",
        ),
        (
            SHAPE,
            status(),
            2,
            "0 of 2 worker groups have found room on the cluster; each needs 4 x (3 CPU, 1 GPU)",
        ),
        (
            SHAPE,
            status(0),
            1,
            "1 of 2 worker groups have found room on the cluster, and train for all; each needs "
            "4 x (3 CPU, 1 GPU)",
        ),
        (SHAPE, status(0, 1), 0, "all worker groups are ready"),
    ],
)
def test_what_groups_do(shape: GroupShape, found: Any, waiting: int, text: str) -> None:
    assert doing(shape, found, waiting) == text


def told(
    monkeypatch: pytest.MonkeyPatch, *looks: tuple[GroupStatus, int], compiles: bool = False
) -> list[str]:
    """The stages that are announced of a group that is found like that, one look after another."""
    left = list(looks)

    def are_ready(_seconds: float) -> bool:
        if len(left) == 1:
            return True
        left.pop(0)
        return False

    monkeypatch.setattr(module, "waiting_groups", lambda _shape: left[0][1])
    monkeypatch.setattr(module, "free_resources", lambda _nodes: "2 CPU (0 free), 0 GPU (0 free)")
    monkeypatch.setattr(module, "alive_nodes", list)
    coordinator = SimpleNamespace(when_ready=lambda: are_ready, status=lambda: left[0][0])
    stages: list[str] = []
    groups: Any = SimpleNamespace(coordinator=coordinator, shape=ONE)
    view: Any = SimpleNamespace(stage=stages.append)
    announce(groups, view, compiles)
    return stages


FIRST = "starting the worker groups and their coordinator"
STARTING = "the worker group is starting its processes"


def test_every_stage_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [status(), status(), status(g0="importing"), status(0)]
    assert told(monkeypatch, *((look, 0) for look in looks)) == [
        FIRST,
        STARTING,
        "the worker group is importing",
        "all worker groups are ready",
        "training",
    ]


def test_room_is_waited_for_when_it_is_not_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [(status(), 1), (status(), 0), (status(), 1), (status(), 1), (status(0), 0)]
    assert told(monkeypatch, *looks)[1:3] == [
        STARTING,
        "0 of 1 worker groups have found room on the cluster; each needs 1 x (2 CPU); the cluster "
        "has 2 CPU (0 free), 0 GPU (0 free)",
    ]


def test_the_base_may_have_to_be_compiled_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = told(monkeypatch, (status(0), 0), compiles=True)
    assert stages[-1] == "training; the first steps compile the base"


def test_groups_that_cannot_start_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, (status(fatal="no base"), 0)) == [FIRST, STARTING]
