"""Dropout's mask follows from (seed, step, place, row) and from nothing else."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from perft.adapters.dropout import DropKey, dropped

KEY = DropKey(seed=3, step=7, rows=slice(0, 6), batch_size=6, max_length=10)
WIDTH = 4


def mask(key: DropKey, *, place: int = 0, probability: float = 0.5, length: int = 10) -> Tensor:
    """Kept (nonzero) or dropped (zero), by row, token and feature."""
    rows = len(range(*key.rows.indices(key.batch_size)))
    ones = torch.ones(rows * length, WIDTH, dtype=torch.float64)
    return dropped(ones, key, place, probability, length).view(rows, length, WIDTH)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda pair: slice(*sorted(pair))),
    length=st.integers(1, 10),
)
def test_any_part_of_the_batch_at_any_length_is_cut_from_the_whole(rows: slice, length: int):
    whole = mask(KEY)
    part = mask(dataclasses.replace(KEY, rows=rows), length=length)
    assert torch.equal(part, whole[rows, :length])


@pytest.mark.parametrize("change", [{"seed": 4}, {"step": 8}])
def test_another_seed_or_step_drops_others(change: dict[str, int]):
    assert not torch.equal(mask(dataclasses.replace(KEY, **change)), mask(KEY))


def test_another_place_drops_others():
    assert not torch.equal(mask(KEY, place=1), mask(KEY, place=0))


def test_rows_and_tokens_do_not_share_a_mask():
    whole = mask(KEY)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[:, 0], whole[:, 1])


def test_no_generator_state_is_read_or_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = mask(KEY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(mask(KEY), first)


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.9])
def test_share_dropped_and_scale_of_the_rest_are_right(probability: float):
    key = DropKey(seed=0, step=0, rows=slice(0, 40), batch_size=40, max_length=50)
    found = mask(key, probability=probability, length=50)
    kept = found[found != 0]
    deviation = (probability * (1 - probability) / found.numel()) ** 0.5
    assert 1 - kept.numel() / found.numel() == pytest.approx(probability, abs=4 * deviation)
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - probability)))
    assert float(found.mean()) == pytest.approx(1.0, abs=4 * deviation / (1 - probability))


def test_zero_probability_gives_the_input_itself():
    x_TD = torch.randn(60, WIDTH)
    assert dropped(x_TD, KEY, 0, 0.0, 10) is x_TD


def test_tokens_beyond_the_longest_row_are_padding_and_are_kept():
    found = mask(KEY, length=13)
    assert torch.equal(found[:, :10], mask(KEY))
    assert found[:, 10:].all()


def test_mask_does_not_depend_on_the_dtype_of_the_base():
    ones = torch.ones(60, WIDTH)
    wanted = dropped(ones, KEY, 0, 0.5, 10) != 0
    found = dropped(ones.bfloat16(), KEY, 0, 0.5, 10)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found != 0, wanted)


def test_gradient_passes_the_kept_units_only():
    x_TD = torch.randn(60, WIDTH, dtype=torch.float64, requires_grad=True)
    dropped(x_TD, KEY, 0, 0.5, 10).sum().backward()
    assert x_TD.grad is not None
    torch.testing.assert_close(x_TD.grad.view(6, 10, WIDTH), mask(KEY))
