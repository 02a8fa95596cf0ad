"""Training on a quantised base keeps what it keeps on any: packed as alone, resumed as whole."""

import pytest
import torch

from contracts.adapters import ONE_OF_EACH
from contracts.packs import (
    TEN,
    advance,
    apart,
    copied,
    tiny_pack,
    train_alone,
    trial,
)
from perft.models import quantise as module
from perft.models.formats import FORMATS
from perft.tasks import TaskSource
from perft.training.pack import Pack

STEPS = 12
DTYPES = {"nf4": torch.float32, "mxfp4": torch.float64, "int8": torch.float64, "fp8": torch.float64}
BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-5}

each_format = pytest.mark.parametrize("precision", FORMATS)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of tiny bases are quantised, too."""
    monkeypatch.setattr(module, "SMALLEST", 8)


def pack_on(precision: str, dtype: torch.dtype = torch.float64, **options: bool) -> Pack:
    return tiny_pack("olmoe", dtype, quantize=precision, **options)


@each_format
def test_a_pack_of_ten_equals_ten_packs_of_one(precision: str) -> None:
    dtype = DTYPES[precision]
    alone_pack, pack = pack_on(precision, dtype), pack_on(precision, dtype)
    alone = {n: train_alone(n, config, STEPS, pack=alone_pack) for n, config in TEN.items()}
    for name, config in TEN.items():
        pack.admit(name, config)
    reports = advance(pack, dict.fromkeys(TEN, STEPS))
    for name, (adapter, report) in alone.items():
        assert apart(copied(pack, name), adapter) <= BOUNDS[dtype], name
        assert reports[name].val_loss == pytest.approx(report.val_loss, abs=BOUNDS[dtype])
        assert reports[name].correct == report.correct


@each_format
def test_resumed_equals_uninterrupted(precision: str) -> None:
    whole, resumed = pack_on(precision, torch.float32), pack_on(precision, torch.float32)
    names = ("r", "lora-qv", "lora-router", "lora-experts")
    for name in names:
        whole.admit(name, TEN[name])
    advance(whole, dict.fromkeys(names, STEPS))
    for name in names:
        resumed.admit(name, TEN[name], whole.state(name))
    last, again = (advance(pack, dict.fromkeys(names, 2 * STEPS)) for pack in (whole, resumed))
    for name in names:
        assert apart(copied(whole, name), copied(resumed, name)) == 0.0
        assert last[name].val_loss == again[name].val_loss


@each_format
def test_checkpointing_changes_no_number(precision: str) -> None:
    packs = [pack_on(precision, torch.float32, checkpointing=each) for each in (False, True)]
    found = [train_alone("r", TEN["r"], 4, pack=pack)[0] for pack in packs]
    assert apart(*found) == 0.0


@each_format
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_variant_learns(name: str, precision: str) -> None:
    pack = pack_on(precision, torch.float32)
    pack.admit(name, trial(ONE_OF_EACH[name], lr=3e-2))
    start = copied(pack, name)
    first, last = (advance(pack, {name: steps})[name] for steps in (2, 40))
    assert last.train_loss < first.train_loss
    moved = {key: not torch.equal(start[key], now) for key, now in copied(pack, name).items()}
    assert all(moved.values()), "every tensor learns"


def test_an_adapter_says_what_it_was_trained_on() -> None:
    for precision, noted in (("int8", True), ("none", False)):
        pack = pack_on(precision)
        pack.admit("s", TEN["s"])
        config = pack.adapter("s", TaskSource(name="arithmetic"))["adapter_config.json"]
        assert (b'"quantize": "int8"' in config) is noted
