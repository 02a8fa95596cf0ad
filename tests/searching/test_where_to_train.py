"""Where a search trains: on what is there, on what it asks for, on what it had before."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from perft.errors import ConfigError, SearchError
from perft.packing.shape import GroupShape
from perft.searching import shape as module
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.resume import prepare_resume
from perft.searching.shape import shape_on
from perft.searching.stages import Stages

CPUS, GPUS = {"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}
Search = Callable[..., SearchPlan]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    plan = prepare(SearchRequest(space="arithmetic", name="shape"))

    def with_settings(**changes: Any) -> SearchPlan:
        settings = dataclasses.replace(plan.settings, slots=1, **changes)
        return dataclasses.replace(plan, settings=settings)

    return with_settings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[GroupShape]:
    """What the autoscaler hears; a second takes no time."""
    found: list[GroupShape] = []

    @contextmanager
    def machines_requested(shape: GroupShape) -> Iterator[None]:
        found.append(shape)
        yield

    clock = iter(range(10**6))
    monkeypatch.setattr(module, "machines_requested", machines_requested)
    monkeypatch.setattr(module, "free_resources", lambda _nodes: "8 CPU (8 free), 0 GPU (0 free)")
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    return found


def lay(
    plan: SearchPlan,
    monkeypatch: pytest.MonkeyPatch,
    *clusters: list[dict[str, float]],
    joined: bool = True,
    to_come: bool = False,
) -> tuple[GroupShape, str]:
    """The shape on a cluster that looks like that, one look after another, and what was said."""
    looks = [[{"Resources": each} for each in cluster] for cluster in clusters]
    monkeypatch.setattr(module, "alive_nodes", lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    monkeypatch.setattr(module, "autoscaler_brings_gpus", lambda: to_come)
    stream = io.StringIO()
    shape, nodes = shape_on(plan, Stages(Console(file=stream)), joined=joined)
    assert nodes == looks[0]
    return shape, stream.getvalue()


def test_what_is_there_is_taken(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    for joined in (True, False):
        shape, said = lay(search(), monkeypatch, [CPUS, GPUS], joined=joined)
        assert (shape.use_gpu, shape.groups, said) == (True, 4, "")
    shape, said = lay(search(), monkeypatch, [CPUS], joined=False)
    assert (shape.use_gpu, said) == (False, "")


def test_cpus_of_a_cluster_are_not_taken_silently(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, said = lay(search(), monkeypatch, [CPUS])
    assert not shape.use_gpu
    assert "no machine of the cluster has a GPU: training on CPUs (where an autoscaler" in said
    assert "--gpus-per-worker 1 asks it to, and waits for them" in said
    shape, said = lay(search(gpus_per_worker=0.0), monkeypatch, [CPUS, GPUS])
    assert (shape.use_gpu, said) == (False, "")  # the user knows


def test_gpus_that_an_autoscaler_can_bring_up_are_asked_for(
    search: Search, monkeypatch: pytest.MonkeyPatch, asked: list[GroupShape]
) -> None:
    wanted = search(groups=2, workers_per_group=4)
    shape, said = lay(wanted, monkeypatch, [CPUS], [CPUS], [CPUS, GPUS], to_come=True)
    assert [(each.groups, each.needs) for each in asked] == [(2, "4 x (1 CPU, 1 GPU)")]
    # It starts on what one group needs; the other one is asked for until it finds room.
    assert (shape.groups, shape.gpus, shape.cpus) == (2, 1.0, 4)
    assert "the cluster's autoscaler can bring some up: they are asked for" in said
    assert said.count("waiting for machines that come up: 2 worker groups need 4 x (1 CPU, 1") == 1
    assert "Ctrl-C ends this; fewer --groups or --workers-per-group need less, and --gpus" in said


def test_all_gpus_that_come_are_used_unless_said_otherwise(
    search: Search, monkeypatch: pytest.MonkeyPatch, asked: list[GroupShape]
) -> None:
    shape, _ = lay(search(gpus_per_worker=1.0), monkeypatch, [CPUS], [CPUS, GPUS])
    assert (shape.groups, asked[0].groups) == (4, 1)


def test_that_machines_are_waited_for_is_said_again(
    search: Search, monkeypatch: pytest.MonkeyPatch, asked: list[GroupShape]
) -> None:
    looks = [[CPUS]] * 200 + [[GPUS]]
    _, said = lay(search(gpus_per_worker=1.0), monkeypatch, *looks)
    assert said.count("waiting for machines that come up") > 3
    assert len(asked) == 1


def test_a_ray_of_ones_own_gets_no_more_machines(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SearchError, match=r"on GPUs, and no machine has one; --gpus-per-worker 0"):
        lay(search(gpus_per_worker=1.0), monkeypatch, [CPUS], joined=False)


def test_a_machine_that_is_coming_up_is_waited_for(
    search: Search, monkeypatch: pytest.MonkeyPatch, asked: list[GroupShape]
) -> None:
    wanted = search(groups=2, workers_per_group=8)
    shape, said = lay(wanted, monkeypatch, [CPUS], [CPUS], [CPUS, CPUS])
    assert (shape.groups, shape.use_gpu, len(asked)) == (2, False, 1)
    assert "2 worker groups need 8 x (1 CPU) each, the cluster has 8 CPU (8 free)" in said
    assert "it ends after 60 s" in said
    with pytest.raises(SearchError, match="2 groups of 8 workers need 16 CPUs, the cluster has 8"):
        lay(wanted, monkeypatch, [CPUS])


def test_where_nothing_is_up_machines_must_come(
    search: Search, monkeypatch: pytest.MonkeyPatch, asked: list[GroupShape]
) -> None:
    shape, _ = lay(search(), monkeypatch, *[[{"memory": 1.0}]] * 200, [CPUS])
    assert (shape.cpus, len(asked)) == (2, 1)


def test_machines_that_the_user_has_asked_for_are_waited_for_without_end(
    search: Search, monkeypatch: pytest.MonkeyPatch, asked: list[GroupShape]
) -> None:
    wanted = search(groups=9, gpus_per_worker=0.0)
    shape, _ = lay(wanted, monkeypatch, *[[CPUS]] * 200, [CPUS, CPUS])
    assert (shape.groups, shape.cpus, len(asked)) == (9, 1, 1)


def test_what_does_not_fit_this_machine_is_refused_at_once(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gpus, message in ((None, "9 groups of 1 workers need 9 CPUs"), (1.0, "no machine has one")):
        with pytest.raises(SearchError, match=message):
            lay(search(groups=9, gpus_per_worker=gpus), monkeypatch, [CPUS], joined=False)
    with pytest.raises(SearchError, match="9 groups of 1 workers need 9 GPUs, the cluster has 4"):
        lay(search(groups=9, gpus_per_worker=1.0), monkeypatch, [GPUS], joined=False)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([{**GPUS, "accelerator_type:T4": 1.0}, {**CPUS, "GPU": 1.0}], "trains on T4 alone"),
        ([{**CPUS, "GPU": 1.0, "accelerator_type:T4": 1.0}, {**CPUS, "GPU": 1.0}], "all of them"),
    ],
)
def test_several_kinds_of_gpus_are_spoken_of(
    nodes: list[dict[str, float]], said: str, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, told = lay(search(groups=2), monkeypatch, nodes)
    assert "several kinds of GPUs (T4, unknown)" in told
    assert said in told


def test_memory_is_asked_of_the_gpus_that_are_taken(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def gpu_memory(nodes: list[Any]) -> int:
        seen.extend(nodes)
        return 80 * 10**9

    wanted = search(gpus_per_worker=0.5)
    wanted = dataclasses.replace(wanted, settings=dataclasses.replace(wanted.settings, slots=None))
    t4, other = {**GPUS, "accelerator_type:T4": 1.0}, {"CPU": 1.0, "GPU": 1.0}
    monkeypatch.setattr(module, "gpu_memory", gpu_memory)
    monkeypatch.setattr(module, "_slots_on_gpus", lambda _prepared, memory: memory // 10**10)
    shape, _ = lay(wanted, monkeypatch, [t4, other])
    assert (seen, shape.slots) == ([{"Resources": t4}], 4)


def test_a_search_goes_on_on_what_it_had_unless_asked_for_another(search: Search) -> None:
    plan = search(gpus_per_worker=0.0)
    plan.settings.write(plan.search)
    assert prepare_resume("shape", None).settings.gpus_per_worker == 0.0
    assert prepare_resume("shape", None, gpus_per_worker=1.0).settings.gpus_per_worker == 1.0


@pytest.mark.parametrize(
    ("gpus", "workers", "message"),
    [
        (2.0, 1, "is 2, wanted 0 for CPUs, 1, or a part of one"),
        (-1.0, 1, "is -1, wanted"),
        (0.5, 2, "the 2 workers of a group cannot share a GPU"),
    ],
)
def test_gpus_that_make_no_sense(gpus: float, workers: int, message: str, search: Search) -> None:
    with pytest.raises(ConfigError, match=message):
        search(gpus_per_worker=gpus, workers_per_group=workers)
    search_request = SearchRequest(
        space="arithmetic", gpus_per_worker=gpus, workers_per_group=workers
    )
    with pytest.raises(ConfigError, match=message):
        prepare(search_request)
