"""The user hears when training begins, and when the groups wait for room on the cluster."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from perft.packing.groups import GroupShape
from perft.search import run

SHAPE = GroupShape(groups=2, workers=4, slots=1, use_gpu=True, cpus=3)


def told(
    monkeypatch: pytest.MonkeyPatch, *, in_time: bool, started: int, compiles: bool = False
) -> list[str]:
    """The stages that are announced of groups of which so many have started."""

    def wait(refs: list[str], timeout: float) -> tuple[list[str], list[str]]:
        assert timeout == run.PATIENCE_SECONDS
        return (refs, []) if in_time else ([], refs)

    answers: dict[str, Any] = {"ready": None, "status": {"started": started}}
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", answers.__getitem__)
    meeting = SimpleNamespace(
        all_ready=SimpleNamespace(remote=lambda: "ready"),
        status=SimpleNamespace(remote=lambda: "status"),
    )
    stages: list[str] = []
    groups: Any = SimpleNamespace(meeting=meeting, shape=SHAPE)
    view: Any = SimpleNamespace(stage=stages.append)
    run._announce(groups, view, compiles)
    return stages


def test_training_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, in_time=True, started=2) == ["training"]


def test_so_is_that_the_base_is_compiled_first(monkeypatch: pytest.MonkeyPatch) -> None:
    (stage,) = told(monkeypatch, in_time=True, started=2, compiles=True)
    assert stage == "training; the first steps compile the base"


@pytest.mark.parametrize(("started", "meanwhile"), [(0, ""), (1, ", and train for all")])
def test_so_is_that_groups_wait_for_room(
    started: int, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(monkeypatch, in_time=False, started=started) == [
        f"{started} of 2 worker groups have found room on the cluster{meanwhile}; "
        "each needs 4 x (3 CPU, 1 GPU)",
        "training",
    ]


def test_groups_that_load_a_large_base_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, in_time=False, started=2) == ["training"]
