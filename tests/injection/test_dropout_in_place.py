"""A trial drops the same units alone, packed, padded and split over processes."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from contracts.adapters import EVERY, SIX, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import tiny_base
from perft.adapters.dropout import DropKey
from perft.config import AdapterConfig, LoraWeightConfig
from perft.injection import AdapterHost, BatchLayout, rows_of

ROWS, LENGTH = 4, 7
DROPPING = {
    name: dataclasses.replace(config, dropout=0.4)
    for name, config in EVERY.items()
    if not isinstance(config, LoraWeightConfig)
}


def dropping_host(config: AdapterConfig) -> AdapterHost:
    host = AdapterHost(tiny_base("mixtral"))
    add_random(host, "a", config, seed=1)
    return host


def key(step: int = 5, seed: int = 11, rows: slice = slice(0, ROWS)) -> DropKey:
    return DropKey.of(seed, step, rows)


def alone(drop: DropKey | None, rows: int = ROWS) -> BatchLayout:
    return rows_of({"a": rows}, drops={"a": drop} if drop else None)


def answer(host: AdapterHost, layout: BatchLayout, ids: Tensor) -> Tensor:
    with host.using(layout):
        logits: Tensor = host.model(ids).logits
    return logits


def assert_same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", DROPPING.values(), ids=DROPPING)
@torch.no_grad()
def test_same_step_drops_the_same_units_and_another_step_or_seed_others(config: AdapterConfig):
    host, ids = dropping_host(config), token_ids(ROWS)
    first = answer(host, alone(key()), ids)
    assert torch.equal(answer(host, alone(key()), ids), first)
    for other in (None, key(step=6), key(seed=12)):
        assert not torch.allclose(answer(host, alone(other), ids), first)


@pytest.mark.parametrize("config", DROPPING.values(), ids=DROPPING)
def test_packed_trial_drops_what_it_drops_alone(config: AdapterConfig):
    host, ids = dropping_host(config), token_ids(ROWS)
    for seed, (name, other) in enumerate(SIX.items()):
        add_random(host, name, dataclasses.replace(other, dropout=0.0), seed)
    add_random(host, "twin", config, seed=4)
    wanted = answer(host, alone(key()), ids)
    next_token_loss(wanted, ids).backward()
    gradients = take_gradients(host, "a")
    layout = rows_of(
        {"perft-e": 1, "twin": ROWS, "a": ROWS, "lora-qv": 2},
        drops={"a": key(), "twin": key(step=9)},
    )
    packed = answer(host, layout, torch.cat([token_ids(1 + ROWS, seed=5), ids, token_ids(2)]))
    found = packed[1 + ROWS : 1 + 2 * ROWS]
    assert_same(found, wanted)
    next_token_loss(found, ids).backward()
    for name, gradient in take_gradients(host, "a").items():
        assert_same(gradient, gradients[name])


@pytest.mark.parametrize("config", DROPPING.values(), ids=DROPPING)
@torch.no_grad()
def test_longer_padding_drops_the_same_units(config: AdapterConfig):
    host, ids = dropping_host(config), token_ids(ROWS)
    wanted = answer(host, alone(key()), ids)
    for more in (1, 5):
        padded = functional.pad(ids, (0, more))
        assert_same(answer(host, alone(key()), padded)[:, :LENGTH], wanted)


@pytest.mark.parametrize("config", DROPPING.values(), ids=DROPPING)
def test_two_processes_with_a_half_each_drop_what_one_drops(config: AdapterConfig):
    host, ids = dropping_host(config), token_ids(ROWS)
    wanted = answer(host, alone(key()), ids)
    next_token_loss(wanted, ids).backward()
    gradients = take_gradients(host, "a")
    halves = []
    for rows in (slice(0, 1), slice(1, ROWS)):
        part = answer(host, alone(key(rows=rows), rows.stop - rows.start), ids[rows])
        next_token_loss(part, ids[rows]).backward()  # gradients add up, as an all-reduce does
        halves.append(part)
    assert_same(torch.cat(halves), wanted)
    for name, gradient in take_gradients(host, "a").items():
        assert_same(gradient, gradients[name])


@torch.no_grad()
def test_layout_without_a_drop_key_drops_nothing_even_in_training_mode():
    host, ids = dropping_host(DROPPING["perft-s"]), token_ids(ROWS)
    wanted = answer(host, alone(None), ids)
    host.model.train()
    assert_same(answer(host, alone(None), ids), wanted)


@pytest.mark.parametrize("when_added", ["before", "after"])
@torch.no_grad()
def test_active_adapter_drops_in_training_mode_only(when_added: str):
    """Also when the base was in evaluation mode before the adapter came."""
    model, ids = tiny_base("olmoe").train(when_added == "before"), token_ids(ROWS)
    host = AdapterHost(model)
    add_random(host, "a", DROPPING["perft-s"])
    model.train(mode=False) if when_added == "before" else None
    host.activate("a")
    steady = model(ids).logits
    assert torch.equal(model(ids).logits, steady)
    model.train()
    torch.manual_seed(0)
    assert not torch.allclose(model(ids).logits, steady)
    assert not torch.equal(model(ids).logits, model(ids).logits)


@torch.no_grad()
def test_different_places_drop_different_units():
    """q and v of one layer read the same input; with one mask their bottlenecks would agree."""
    host = AdapterHost(tiny_base("mixtral"))
    host.add("a", DROPPING["lora-qv"])
    for name, tensor in host.tensors("a").items():
        tensor.data.fill_(1.0 if name.endswith("lora_B") else 0.5)
    seen = {}
    layer = host.model.model.layers[0].self_attn
    for path in ("q_proj", "v_proj"):
        linear = layer.get_submodule(path)
        linear.weight.zero_()
        linear.register_forward_hook(
            lambda _, __, out, path=path: seen.__setitem__(path, out[..., 0])
        )
    answer(host, alone(key()), token_ids(ROWS))
    assert seen["q_proj"].any()
    assert not torch.allclose(seen["q_proj"], seen["v_proj"])
    answer(host, alone(None), token_ids(ROWS))
    assert_same(seen["q_proj"], seen["v_proj"])
