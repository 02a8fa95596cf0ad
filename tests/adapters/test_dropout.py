"""Dropout's mask follows from (seed, step, row, place, token, unit) and from nothing else."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from perft.adapters.dropout import NO_DROP, DropKey, keyed_drop

ROWS, LENGTH, WIDTH = 6, 10, 4


def key(seed: int = 3, step: int = 7, rows: slice = slice(0, ROWS)) -> DropKey:
    return DropKey.of(seed, step, rows)


def dropped(x_TD: Tensor, of: DropKey, place: int, probability: float, heads: int = 1) -> Tensor:
    drop = keyed_drop(of, place, probability, heads)
    return drop.zero(x_TD) * drop.gain


def mask(
    of: DropKey, *, place: int = 0, probability: float = 0.5, length: int = LENGTH, heads: int = 1,
    width: int = WIDTH,
) -> Tensor:  # fmt: skip
    """Kept (nonzero) or dropped (zero), by row, head, token and feature; one head has no axis."""
    rows = len(of.seed_b)
    ones = torch.ones(rows * heads * length, width, dtype=torch.float64)
    found = dropped(ones, of, place, probability, heads)
    return found.view(rows, heads, length, width).squeeze(1)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda pair: slice(*sorted(pair))),
    length=st.integers(1, 10),
    heads=st.integers(1, 3),
)
def test_any_part_of_the_batch_at_any_length_is_cut_from_the_whole(
    rows: slice, length: int, heads: int
):
    whole = mask(key(), heads=heads)
    part = mask(key(rows=rows), length=length, heads=heads)
    assert torch.equal(part, whole[rows, ..., :length, :])


@pytest.mark.parametrize("change", [{"seed": 4}, {"step": 8}])
def test_another_seed_or_step_drops_others(change: dict[str, int]):
    assert not torch.equal(mask(key(**change)), mask(key()))


def test_another_place_drops_others():
    assert not torch.equal(mask(key(), place=1), mask(key(), place=0))


def test_rows_tokens_and_heads_do_not_share_a_mask():
    whole = mask(key(), heads=2)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[:, 0], whole[:, 1])
    assert not torch.equal(whole[:, :, 0], whole[:, :, 1])


def test_no_generator_state_is_read_or_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = mask(key())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(mask(key()), first)


def test_masks_are_these_on_every_machine():
    """By the equations, in Python's integers: start + n gamma, mixed, against the threshold."""

    def signed(z: int) -> int:
        return (z + 2**31) % 2**32 - 2**31

    place = 0xE220A8397B1DCDAF & ~(1 << 32)  # SplitMix64's first number of seed 0
    wanted = []
    for seed in key().seed_b.tolist():
        stream = seed % 2**64 ^ place
        for n in range(LENGTH * WIDTH):
            z = signed(stream + n * (stream >> 32))
            z = signed((z ^ z >> 16) * 0x7FEB352D)
            z = signed((z ^ z >> 15) * 0x846CA68B)
            wanted.append(z >= signed(2**31 + round(0.3 * 2**32)))
    assert (mask(key(), probability=0.3) != 0).flatten().tolist() == wanted


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.9])
def test_share_dropped_and_scale_of_the_rest_are_right(probability: float):
    found = mask(key(rows=slice(0, 40)), probability=probability, length=50)
    kept = found[found != 0]
    deviation = (probability * (1 - probability) / found.numel()) ** 0.5
    assert 1 - kept.numel() / found.numel() == pytest.approx(probability, abs=4 * deviation)
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - probability)))
    assert float(found.mean()) == pytest.approx(1.0, abs=4 * deviation / (1 - probability))


def deviates(probability: float) -> dict[str, list[float]]:
    """Of many masks, quantities that are standard normal if all draws are independent."""
    found: dict[str, list[float]] = {}
    for seed, step, place in itertools.product((0, 1, 7), (0, 1, 50), (0, 1, 33)):

        def centred(seed: int = seed, step: int = step, place: int = place) -> Tensor:
            kept = mask(
                key(seed, step, slice(0, 12)),
                place=place, probability=probability, length=48, width=64,
            ) != 0  # fmt: skip
            spread = (probability * (1 - probability)) ** 0.5
            return (kept.double() - (1 - probability)) / spread

        own = centred()
        pairs = {
            f"{axis} {lag} apart": (own.narrow(at, lag, own.shape[at] - lag),
                                    own.narrow(at, 0, own.shape[at] - lag))
            for at, axis in enumerate(("rows", "tokens", "units"))
            for lag in (1, 2, 3, 4, 8)
        }  # fmt: skip
        others = {
            "seeds": centred(seed=seed + 1),
            "steps": centred(step=step + 1),
            "places": centred(place=place + 1),
        }
        pairs |= {name: (own, other) for name, other in others.items()}
        numbers = {name: (a * b).sum() / a.numel() ** 0.5 for name, (a, b) in pairs.items()}
        numbers["mean"] = own.sum() / own.numel() ** 0.5
        for at, axis in enumerate(("rows", "tokens", "units")):
            sums = own.sum(at) / own.shape[at] ** 0.5
            numbers[f"variance over {axis}"] = (sums.var() - 1) * (sums.numel() / 2) ** 0.5
        for name, number in numbers.items():
            found.setdefault(name, []).append(float(number))
    return found


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_draws_are_uniform_and_those_of_neighbours_independent(probability: float):
    for name, numbers in deviates(probability).items():
        each = torch.tensor(numbers)
        assert each.abs().max() < 4.5, name
        assert abs(each.mean()) * len(each) ** 0.5 < 4, name
        assert 0.5 < each.std() < 1.6, name


def test_zero_probability_gives_the_input_itself():
    x_TD = torch.randn(60, WIDTH)
    assert keyed_drop(key(), 0, 0.0) is NO_DROP
    assert NO_DROP.zero(x_TD) is x_TD


def test_probability_next_to_one_drops_all_but_none_by_wrapping_round():
    assert not mask(key(), probability=1 - 2**-40).any()


def test_mask_does_not_depend_on_the_dtype_of_the_base():
    ones = torch.ones(60, WIDTH)
    wanted = dropped(ones, key(), 0, 0.5) != 0
    found = dropped(ones.bfloat16(), key(), 0, 0.5)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found != 0, wanted)


def test_gradient_passes_the_kept_units_only():
    x_TD = torch.randn(60, WIDTH, dtype=torch.float64, requires_grad=True)
    dropped(x_TD, key(), 0, 0.5).sum().backward()
    assert x_TD.grad is not None
    torch.testing.assert_close(x_TD.grad.view(6, 10, WIDTH), mask(key()))
