"""How many trials a group trains together on a GPU follows from the GPU's memory."""

import dataclasses
import functools
from pathlib import Path

import pytest
from rich.console import Console
from transformers import OlmoeConfig

from perft.errors import SearchError
from perft.models.tiny import tiny_config
from perft.packing.shape import SLOTS_ON_A_GPU
from perft.searching import shape
from perft.searching.capacity import USABLE, count, largest_costs, slots_in, step_workload
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.size_extremes import extreme_adapters
from perft.searching.space import find_space
from perft.searching.stages import Stages
from perft.training.memory import PackMemory

SPACE = find_space("arithmetic")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchPlan:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    return prepare(SearchRequest(space="arithmetic", name="fit"))


def shape_on(
    plan: SearchPlan, memory: int, monkeypatch: pytest.MonkeyPatch, gpus: float = 2.0
) -> shape.GroupShape:
    """The shape of a search on one machine with GPUs of so many bytes."""
    nodes = [{"Resources": {"CPU": 8.0, "GPU": gpus}}]
    monkeypatch.setattr(shape, "gpu_memory", lambda _nodes: memory)
    monkeypatch.setattr(shape, "alive_nodes", lambda: nodes)
    found, _ = shape.shape_on(plan, Stages(Console(quiet=True)), joined=False)
    return found


@functools.cache
def builtin_costs() -> dict[str, PackMemory]:
    counted = count(extreme_adapters(SPACE, builtin=True), None)
    return dict(largest_costs(counted, step_workload(SPACE, None)))


def bytes_for(trials: int) -> int:
    """Memory in which so many trials of every kind fit, and not one more of the largest."""
    costs = builtin_costs().values()
    state = {id(c): c.adapters + c.gradients + c.optimizer for c in costs}
    return int(max(c.total + (trials - 0.5) * state[id(c)] for c in costs) / USABLE)


@pytest.mark.parametrize("trials", [1, 3, SLOTS_ON_A_GPU - 1])
def test_as_many_trials_as_fit(
    trials: int, plan: SearchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = bytes_for(trials)
    costs = builtin_costs()
    assert min(cost.trials_in(int(memory * USABLE)) for cost in costs.values()) == trials
    assert shape_on(plan, memory, monkeypatch).slots == trials


def test_no_more_trials_than_are_useful_at_a_time(
    plan: SearchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shape_on(plan, 80 * 10**9, monkeypatch).slots == SLOTS_ON_A_GPU


def test_a_wish_is_not_questioned(plan: SearchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(plan.settings, slots=3)
    requested = dataclasses.replace(plan, settings=settings)
    assert shape_on(requested, 1, monkeypatch).slots == 3


def test_cpus_are_not_asked_for_memory(plan: SearchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shape_on(plan, 1, monkeypatch, gpus=0.0).trials_at_once == 4


def test_a_gpu_too_small_for_one_trial(plan: SearchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SearchError, match="share the base among more --workers-per-group, add"):
        shape_on(plan, 10**6, monkeypatch)


def test_a_base_whose_costs_cannot_be_known(tmp_path: Path) -> None:
    tiny_config("jetmoe").save_pretrained(tmp_path)
    assert slots_in(8 * 10**9, SPACE, str(tmp_path), step_workload(SPACE, str(tmp_path))) is None


@pytest.mark.slow
def test_workers_share_a_base_that_one_gpu_does_not_hold(tmp_path: Path) -> None:
    OlmoeConfig(vocab_size=50304, intermediate_size=1024, pad_token_id=1).save_pretrained(tmp_path)
    olmoe_1b_7b = str(tmp_path)
    alone = step_workload(SPACE, olmoe_1b_7b)
    with pytest.raises(SearchError, match=r"13\.8 GB of them for the base"):
        slots_in(12 * 10**9, SPACE, olmoe_1b_7b, alone)
    shared = step_workload(SPACE, olmoe_1b_7b, workers=4, checkpointing=True)
    assert slots_in(12 * 10**9, SPACE, olmoe_1b_7b, shared)
