"""Passes side by side: replicas share every tensor, and no lane changes what another computes."""

import threading

import pytest
import torch

from contracts.adapters import SIX, add_random, possible
from contracts.bases import FAMILIES, tiny_base
from contracts.packs import TEN, advance, apart, copied, tiny_pack
from perft.forward import AdapterRows, Lanes, lanes_on, pack_losses
from perft.injection import AdapterHost
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.replica import replica
from perft.ranks import Ranks

LIMIT_SECONDS = 30.0


def lanes_of(family: str = "olmoe", count: int = 2) -> Lanes:
    """Lanes with one adapter of each variant that the family takes."""
    lanes = Lanes(AdapterHost(tiny_base(family)), count)
    for seed, (name, config) in enumerate(possible(lanes.host, SIX).items()):
        add_random(lanes.host, name, config, seed)
        lanes.share(name)
    return lanes


def test_a_replica_shares_all_tensors_and_no_module() -> None:
    model = tiny_base("olmoe")
    other = replica(model)
    for mine, its in zip(model.modules(), other.modules(), strict=True):
        assert mine is not its
    for kind in ("named_parameters", "named_buffers"):
        its_tensors = dict(getattr(other, kind)())
        assert {name: id(t) for name, t in getattr(model, kind)()} == {
            name: id(t) for name, t in its_tensors.items()
        }


def test_a_borrowed_adapter_is_the_owners_own_until_it_is_taken_away() -> None:
    lanes = lanes_of()
    mine, its = (host for host in lanes._hosts)
    for name in mine.configs:
        assert its.configs[name] == mine.configs[name]
        owned = its.tensors(name)
        assert all(owned[key] is tensor for key, tensor in mine.tensors(name).items())
    for name in list(mine.configs):
        lanes.remove(name)
    assert not mine.configs
    assert not its.configs


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in FAMILIES else pytest.mark.families)
        for family in sorted(SUPPORTED)
        if not SUPPORTED[family].encoder_decoder
    ],
)
def test_two_passes_at_a_time_are_as_one_after_another(family: str) -> None:
    lanes = lanes_of(family)
    rows = tiny_pack().rows.train(16, "answer")
    items = [(name, [rows.row(3 * i + k) for k in range(3)]) for i, name in enumerate(SIX)]
    items = [item for item in items if item[0] in lanes.host.configs] * 2
    both = threading.Barrier(2, timeout=LIMIT_SECONDS)

    def gradients(host: AdapterHost, item: tuple) -> list[torch.Tensor]:
        """Two threads meet before each pass and before its backward pass."""
        name, its_rows = item
        if threading.current_thread() is not threading.main_thread():
            both.wait()
        loss = pack_losses(host, 0, {name: AdapterRows(its_rows)}).loss[name]
        return [loss.detach(), *torch.autograd.grad(loss, list(host.tensors(name).values()),
                                                    allow_unused=True)]  # fmt: skip

    alone = [gradients(lanes.host, item) for item in items]
    together = lanes.run(gradients, items)
    for one, other in zip(alone, together, strict=True):
        for wanted, found in zip(one, other, strict=True):
            assert (wanted is None) == (found is None)
            if wanted is not None:
                torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3])
def test_a_pack_on_several_lanes_trains_as_on_one(count: int) -> None:
    one, several = tiny_pack(), tiny_pack()
    assert one.lanes.count == 1
    several.lanes = Lanes(several.host, count)
    for pack in (one, several):
        for name, config in TEN.items():
            pack.admit(name, config)
    reports = [advance(pack, dict.fromkeys(TEN, 5)) for pack in (one, several)]
    for name in TEN:
        assert apart(copied(one, name), copied(several, name)) < 1e-9
        found, wanted = reports[1][name], reports[0][name]
        assert found.val_loss == pytest.approx(wanted.val_loss, abs=1e-9)
        assert found.correct == wanted.correct
    predictions = [pack.predict_tests(list(TEN)) for pack in (one, several)]
    assert predictions[0] == predictions[1]


def test_what_an_item_gave_comes_in_the_order_of_the_items() -> None:
    lanes, first = lanes_of(), threading.Event()

    def work(_host: AdapterHost, item: int) -> int:
        if item == 0:
            first.wait(LIMIT_SECONDS)  # the second is done before it
        else:
            first.set()
        return item

    assert lanes.run(work, range(5)) == list(range(5))


def test_no_two_items_have_a_host_at_the_same_time() -> None:
    lanes, taken = lanes_of(), set()

    def work(host: AdapterHost, _item: int) -> None:
        assert host not in taken
        taken.add(host)
        torch.randn(50, 50) @ torch.randn(50, 50)
        taken.remove(host)

    lanes.run(work, range(50))


def test_an_error_is_raised_when_no_lane_works_any_more() -> None:
    lanes, done = lanes_of(), []

    def work(_host: AdapterHost, item: int) -> None:
        if item == 1:
            raise RuntimeError("no memory")
        done.append(item)

    with pytest.raises(RuntimeError, match="no memory"):
        lanes.run(work, range(6))
    assert sorted(done) == [0, 2, 3, 4, 5]
    assert lanes.run(lambda _host, item: item, [1, 2]) == [1, 2]


@pytest.mark.parametrize("items", [1, 4])
def test_lanes_record_gradients_as_their_caller_does(items: int) -> None:
    lanes = lanes_of()

    def work(_host: AdapterHost, _item: int) -> bool:
        return torch.is_grad_enabled()

    assert lanes.run(work, range(items)) == [True] * items
    with torch.no_grad():
        assert lanes.run(work, range(items)) == [False] * items


def test_a_lone_item_has_the_callers_thread() -> None:
    def work(_host: AdapterHost, _item: int) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert lanes_of().run(work, [0]) == [True]
    assert lanes_of().run(work, [0, 1]) == [False, False]


@pytest.mark.parametrize(
    ("device", "size", "threads", "wanted"),
    [("cpu", 1, 1, 1), ("cpu", 1, 2, 2), ("cpu", 1, 64, 2), ("cpu", 2, 8, 1), ("cuda", 1, 8, 1)],
)
def test_only_a_process_alone_on_several_cores_has_lanes(
    device: str, size: int, threads: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert lanes_on(Ranks(size=size, device=torch.device(device))) == wanted
