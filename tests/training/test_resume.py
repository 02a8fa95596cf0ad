"""A trial that goes on from its saved state equals one that never stopped, bit for bit."""

import dataclasses

import pytest
import torch

from contracts.packs import TEN, advance, tiny_pack, tiny_task, trial
from perft.checkpoint import TrialState, from_bytes, to_bytes
from perft.config import SingleConfig
from perft.errors import AdapterError, StorageError
from perft.training.pack import Pack

MIXED = ("r", "e", "s-parallel", "lora-qv", "lora-router", "lora-experts")


def admitted(dtype: torch.dtype, states: dict[str, bytes] | None = None) -> Pack:
    pack = tiny_pack("olmoe", dtype)
    for name in MIXED:
        pack.admit(name, TEN[name], states[name] if states else None)
    return pack


def state_of(pack: Pack, name: str) -> TrialState:
    """The state, without the speed: that alone depends on the machine."""
    state = from_bytes(pack.state(name))
    reports = tuple(dataclasses.replace(r, tokens_per_second=0.0) for r in state.reports)
    return dataclasses.replace(state, reports=reports)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumed_equals_uninterrupted(dtype: torch.dtype) -> None:
    whole = admitted(dtype)
    advance(whole, dict.fromkeys(MIXED, 20))
    states = {name: whole.state(name) for name in MIXED}
    advance(whole, dict.fromkeys(MIXED, 50))

    resumed = admitted(dtype, states)
    advance(resumed, dict.fromkeys(MIXED, 50))

    for name in MIXED:
        one, other = state_of(whole, name), state_of(resumed, name)
        assert one.reports == other.reports
        assert [report.step for report in other.reports] == [20, 50]
        assert one.step == other.step == 50
        assert one.adapter.keys() == other.adapter.keys()
        assert one.moments.keys() == other.moments.keys()
        assert len(one.moments) == 2 * len(one.adapter)
        for key in one.adapter:
            assert torch.equal(one.adapter[key], other.adapter[key]), key
        for key in one.moments:
            assert torch.equal(one.moments[key], other.moments[key]), key


def test_a_state_taken_before_the_first_step_is_a_beginning() -> None:
    config = trial(SingleConfig(rank=2, dropout=0.1))
    pack = tiny_pack()
    pack.admit("fresh", config)
    pack.admit("resumed", config, pack.state("fresh"))
    advance(pack, {"fresh": 5, "resumed": 5})
    assert state_of(pack, "fresh").reports == state_of(pack, "resumed").reports


def test_saving_changes_nothing_and_shares_no_memory() -> None:
    pack = tiny_pack()
    pack.admit("t", TEN["s"])
    advance(pack, {"t": 3})
    before = from_bytes(pack.state("t"))
    again = from_bytes(pack.state("t"))
    assert before.reports == again.reports
    advance(pack, {"t": 6})
    for key, tensor in before.adapter.items():
        assert torch.equal(tensor, again.adapter[key])
        assert not torch.equal(tensor, pack.host.tensors("t")[key])


def test_a_state_of_another_configuration_is_refused() -> None:
    pack = tiny_pack()
    pack.admit("t", TEN["s"])
    state = pack.state("t")
    other = dataclasses.replace(TEN["s"], training=dataclasses.replace(TEN["s"].training, lr=1e-5))
    with pytest.raises(StorageError, match="another configuration"):
        pack.admit("u", other, state)
    assert list(pack.running) == ["t"]
    pack.admit("u", other)  # the name is free


def test_a_damaged_state_is_refused_and_leaves_nothing_behind() -> None:
    pack = tiny_pack()
    pack.admit("t", TEN["s"])
    state = pack.state("t")
    pack.release("t")
    for damaged in (b"", state[:40], state[:-3], b"\xff" * 64):
        with pytest.raises(StorageError, match="damaged"):
            pack.admit("t", TEN["s"], damaged)
    pack.admit("t", TEN["s"], state)


def test_a_state_of_another_base_is_refused() -> None:
    pack = tiny_pack()
    pack.admit("t", TEN["s"])
    state = from_bytes(pack.state("t"))
    pack.release("t")
    deeper = {key.replace("layers.1", "layers.2"): t for key, t in state.adapter.items()}
    with pytest.raises(AdapterError, match="does not fit this base"):
        pack.admit("t", TEN["s"], to_bytes(dataclasses.replace(state, adapter=deeper)))
    assert not pack.running


def test_a_resumed_trial_keeps_its_place_in_the_data() -> None:
    whole = tiny_pack(task=tiny_task(train=9))
    whole.admit("t", TEN["s"])
    advance(whole, {"t": 7})
    resumed = tiny_pack(task=tiny_task(train=9))
    resumed.admit("t", TEN["s"], whole.state("t"))
    one, other = whole.running["t"].batch(), resumed.running["t"].batch()
    assert one.step == other.step == 7
    for (ids, free), (other_ids, other_free) in zip(one.rows, other.rows, strict=True):
        assert ids.tolist() == other_ids.tolist()
        assert free == other_free
