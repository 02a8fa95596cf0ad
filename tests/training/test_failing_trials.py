"""A trial whose numbers are no numbers fails alone, with a reason, and disturbs nobody."""

import math

import pytest
import torch

from contracts.packs import TEN, advance, apart, tiny_pack, trial
from perft.adapters.dropout import DropKey
from perft.checkpoint import from_bytes
from perft.config import (
    AdapterConfig,
    EmbeddedConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.forward import AdapterBatch, pack_losses
from perft.training.pack import Pack
from perft.trial import Report

OTHERS = ("r", "e", "d", "s-parallel", "lora-qv", "lora-router")
KINDS: dict[str, AdapterConfig] = {
    "r": RoutedConfig(rank=2, num_experts=3, top_k=2),
    "e": EmbeddedConfig(rank=2),
    "s": SingleConfig(rank=2),
    "lora-qv": LoraQVConfig(rank=2),
    "lora-router": LoraRouterConfig(rank=2),
}
WAYS = [(torch.float64, "eager"), (torch.float32, "eager"), (torch.float32, "grouped_mm")]


def poison(pack: Pack, name: str) -> None:
    for tensor in pack.host.tensors(name).values():
        tensor.data.fill_(math.nan)


def others(dtype: torch.dtype, experts: str) -> Pack:
    pack = tiny_pack("olmoe", dtype, experts=experts)
    for name in OTHERS:
        pack.admit(name, TEN[name])
    return pack


def assert_same_numbers(pack: Pack, calm: Pack) -> None:
    """Adapters, moments and reports of the others, but for the rounding of another batch."""
    bound = 1e-9 if pack.base.model.dtype == torch.float64 else 1e-5
    for name in OTHERS:
        one, other = from_bytes(pack.state(name)), from_bytes(calm.state(name))
        assert apart(one.adapter, other.adapter) <= bound
        assert apart(one.moments, other.moments) <= bound
        assert one.step == other.step
        for report, expected in zip(one.reports, other.reports, strict=True):
            assert report.train_loss == pytest.approx(expected.train_loss, abs=bound)
            assert report.val_loss == pytest.approx(expected.val_loss, abs=bound)
            assert report.correct == expected.correct


@pytest.mark.parametrize(("dtype", "experts"), WAYS)
def test_the_others_are_as_without_the_failing_trials(dtype: torch.dtype, experts: str) -> None:
    calm = others(dtype, experts)
    advance(calm, dict.fromkeys(OTHERS, 4))

    pack = others(dtype, experts)
    bad = [f"bad-{kind}" for kind in KINDS]
    for kind, config in KINDS.items():
        pack.admit(f"bad-{kind}", trial(config))
        poison(pack, f"bad-{kind}")
    advanced = pack.advance(dict.fromkeys([*bad, *OTHERS], 4))

    for name in bad:
        assert advanced[name] == "the training loss is nan at step 1"
        assert pack.running[name].step == 0
    assert_same_numbers(pack, calm)


def test_an_absurd_learning_rate_fails_its_trial_alone() -> None:
    pack = others(torch.float32, "grouped_mm")
    pack.admit("wild", trial(SingleConfig(rank=2), lr=1e38, warmup_steps=0))
    advanced = pack.advance(dict.fromkeys(["wild", *OTHERS], 6))
    assert isinstance(advanced["wild"], str)
    assert "the training loss is" in advanced["wild"]
    assert all(isinstance(advanced[name], Report) for name in OTHERS)
    calm = others(torch.float32, "grouped_mm")
    advance(calm, dict.fromkeys(OTHERS, 6))
    assert_same_numbers(pack, calm)


def test_a_loss_that_is_first_seen_in_validation_fails_its_trial_alone() -> None:
    pack = others(torch.float32, "grouped_mm")
    pack.admit("wild", trial(SingleConfig(rank=2), lr=1e38, warmup_steps=0))
    advanced = pack.advance(dict.fromkeys(["wild", *OTHERS], 1))
    assert advanced["wild"] in (
        "the validation loss is nan at step 1",
        "the validation loss is inf at step 1",
    )
    assert pack.running["wild"].reports == []
    calm = others(torch.float32, "grouped_mm")
    advance(calm, dict.fromkeys(OTHERS, 1))
    assert_same_numbers(pack, calm)


def test_a_failed_trial_stays_failed_and_can_be_let_go() -> None:
    pack = tiny_pack()
    pack.admit("bad", trial(SingleConfig(rank=2)))
    pack.admit("s", TEN["s"])
    poison(pack, "bad")
    for step in (1, 2):
        advanced = pack.advance({"bad": step, "s": step})
        assert advanced["bad"] == "the training loss is nan at step 1"
        assert isinstance(advanced["s"], Report)
    assert pack.advance({"bad": 3}) == {"bad": "the training loss is nan at step 1"}
    pack.release("bad")
    pack.admit("bad", trial(SingleConfig(rank=2)))
    assert isinstance(pack.advance({"bad": 1})["bad"], Report)


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
@pytest.mark.parametrize(("dtype", "experts"), WAYS)
def test_not_even_a_gradient_crosses_from_rows_that_are_no_numbers(
    family: str, dtype: torch.dtype, experts: str
) -> None:
    pack = tiny_pack(family, dtype, experts=experts)
    for name in ("r", "lora-router"):
        pack.admit(name, TEN[name])
    for kind, config in KINDS.items():
        pack.admit(f"bad-{kind}", trial(config))
        poison(pack, f"bad-{kind}")

    def gradients(names: list[str]) -> dict[str, list[float]]:
        key = DropKey.of(seed=0, step=0, rows=slice(0, 4))
        batch = {name: AdapterBatch(pack.running[name].batch().rows, key) for name in names}
        losses = pack_losses(pack.host, 0, batch)
        torch.stack(list(losses.loss.values())).sum().backward()
        found = {}
        for name in names:
            tensors = pack.host.tensors(name).values()
            found[name] = [x for t in tensors for x in t.grad.flatten().tolist()]
            for tensor in tensors:
                tensor.grad = None
        return found

    good = ["r", "lora-router"]
    without = gradients(good)
    mixed = gradients(["bad-r", "r", "bad-e", "bad-s", "lora-router", "bad-lora-qv"])
    for name in good:
        assert mixed[name] == pytest.approx(without[name], rel=1e-4, abs=1e-6)
    assert all(math.isnan(x) for x in mixed["bad-s"])
