"""A trial's state survives the way to storage and back, or is refused as damaged."""

import dataclasses
import json
import struct

import pytest
import safetensors.torch
import torch

from contracts.packs import TEN
from perft.adapters.routing import RouterSums
from perft.checkpoint import Progress, TrialState, from_bytes, to_bytes
from perft.errors import DamagedError, StorageError
from perft.trial import Report

REPORTS = (
    Report(
        step=3, train_loss=2.5, val_loss=1.25, correct=3, scored=9, lr=1e-3,
        tokens_per_second=10.5, router_load=(0.25, 0.75), router_entropy=0.1,
    ),
    Report(
        step=6, train_loss=0.1 + 0.2, val_loss=1e-17, correct=9, scored=9, lr=3e-5,
        tokens_per_second=1e6,
    ),
)  # fmt: skip


def state(step: int = 6) -> TrialState:
    generator = torch.Generator().manual_seed(0)
    adapter = {
        "model.layers.0.mlp.adapters.perft_down": torch.randn(2, 3, generator=generator),
        "model.layers.0.mlp.adapters.perft_up": torch.randn(3, 2, generator=generator).T,
    }
    moments = {
        f"{m}:{key}": torch.rand(t.shape, generator=generator, dtype=torch.float64)
        for key, t in adapter.items()
        for m in ("exp_avg", "exp_avg_sq")
    }
    routing = RouterSums(*(torch.rand(shape, generator=generator) for shape in (4, 4, (), ())))
    progress = Progress(0.1 + 0.2, 3, 4567, 0.7, routing)
    return TrialState(TEN["r"], step, REPORTS, adapter, moments, progress)


def test_a_state_comes_back_exactly() -> None:
    before = state()
    after = from_bytes(to_bytes(before))
    assert after.config == before.config
    assert after.step == 6
    assert after.reports == before.reports
    for one, other in ((before.adapter, after.adapter), (before.moments, after.moments)):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key])
            assert one[key].dtype == other[key].dtype
    one, other = before.progress, after.progress
    assert dataclasses.replace(one, routing=None) == dataclasses.replace(other, routing=None)
    for key, tensor in vars(one.routing).items():
        assert torch.equal(tensor, vars(other.routing)[key])


def test_a_state_before_the_first_step_has_no_moments() -> None:
    before = state(0)
    fresh = TrialState(before.config, 0, (), before.adapter, {})
    after = from_bytes(to_bytes(fresh))
    assert after.moments == {}
    assert after.progress == Progress()
    assert after.reports == ()


def with_metadata(**changes: str | None) -> bytes:
    """A state of the version before checksums, so that its parts are looked at."""
    data = to_bytes(state())
    changes = {"format": "perft-trial-state-2", "checksum": None, **changes}
    (size,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    metadata = {k: v for k, v in {**metadata, **changes}.items() if v is not None}
    return safetensors.torch.save(safetensors.torch.load(data), metadata)


@pytest.mark.parametrize("keep", [0, 4, 8, 60, 700, -1])
def test_a_state_cut_short_is_damaged(keep: int) -> None:
    with pytest.raises(StorageError, match="damaged"):
        from_bytes(to_bytes(state())[:keep])


@pytest.mark.parametrize("place", [0, 7, 8, 100, 600, 2000, -1000, -1])
def test_a_state_with_another_bit_is_damaged(place: int) -> None:
    data = bytearray(to_bytes(state()))
    data[place] ^= 1
    with pytest.raises(DamagedError):
        from_bytes(bytes(data))


def test_a_state_of_a_version_without_checksums_is_read() -> None:
    assert from_bytes(with_metadata()).reports == REPORTS


def test_a_checksum_cannot_be_left_out() -> None:
    with pytest.raises(DamagedError):
        from_bytes(with_metadata(format="perft-trial-state-3"))


@pytest.mark.parametrize("blob", [b"\x00" * 100, b"\xff" * 100, b"{}" * 50, b"not a state at all"])
def test_other_bytes_are_damaged(blob: bytes) -> None:
    with pytest.raises(StorageError, match="damaged"):
        from_bytes(blob)


@pytest.mark.parametrize("key", ["format", "config", "step", "reports", "progress"])
def test_a_state_without_a_part_is_damaged(key: str) -> None:
    with pytest.raises(StorageError, match="damaged"):
        from_bytes(with_metadata(**{key: None}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", "six"),
        ("config", "{}"),
        ("config", "[]"),
        ("config", '{"variant": "perft-s"}'),
        ("reports", "7"),
        ("reports", '[{"step": 3}]'),
        ("reports", "[7]"),
        ("progress", "{}"),
    ],
)
def test_a_state_with_a_part_that_makes_no_sense_is_damaged(key: str, value: str) -> None:
    with pytest.raises(StorageError, match="damaged"):
        from_bytes(with_metadata(**{key: value}))


def test_plain_safetensors_and_other_formats_are_refused() -> None:
    with pytest.raises(StorageError, match="damaged"):
        from_bytes(safetensors.torch.save({"a": torch.ones(2)}))
    with pytest.raises(StorageError, match="perft-trial-state-9"):
        from_bytes(with_metadata(format="perft-trial-state-9"))
