"""The hypervolume of a front against its definition: the share of the plane that is beaten."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.errors import ConfigError
from perft.selection import pareto_front
from perft.selection.hypervolume import (
    BUILTIN,
    Reference,
    hypervolume,
    hypervolume_of,
    reference_of,
)
from perft.trial import TrialResult
from pretend import search_of_six, trial

# Sizes on a grid of powers of two and accuracies in tenths, so that the plane has 10 x 10 cells.
GRID = Reference(smallest=1, largest=2**10)
points = st.lists(st.tuples(st.integers(-1, 11), st.integers(0, 10)), max_size=12)


def measured(found: list[tuple[int, int]]) -> float:
    return hypervolume([2.0**x for x, _ in found], [y / 10 for _, y in found], GRID)


@given(points)
def test_hypervolume_is_the_share_of_cells_that_a_point_beats(found: list[tuple[int, int]]):
    beaten = sum(any(x <= i and y > j for x, y in found) for i in range(10) for j in range(10))
    assert measured(found) == pytest.approx(beaten / 100)


@given(points, st.randoms())
def test_only_the_set_of_points_counts(found: list[tuple[int, int]], random):
    shuffled = random.sample(found, len(found))
    assert measured([*shuffled, *shuffled]) == pytest.approx(measured(found))


def test_one_perfect_point_of_the_smallest_size_has_all_the_volume():
    assert hypervolume([600], [1.0]) == 1.0
    assert hypervolume([], []) == 0.0
    assert hypervolume([40_000], [1.0]) == 0.0


def test_half_the_logarithm_at_half_the_accuracy_is_a_quarter():
    middle = math.sqrt(BUILTIN.smallest * BUILTIN.largest)
    assert hypervolume([middle], [0.5]) == pytest.approx(0.25)


def test_what_is_outside_counts_as_at_the_border():
    assert hypervolume([1, 10**9], [0.5, 2.0]) == hypervolume([600], [0.5]) == 0.5


def test_values_that_are_no_numbers_are_left_out():
    assert hypervolume([600, 600], [math.nan, 0.25]) == 0.25


def test_only_the_front_of_the_full_length_trials_counts():
    trials, reference = search_of_six(), Reference(smallest=500, largest=40_000)
    front = pareto_front(trials)
    of_front = hypervolume_of(front, reference)
    assert hypervolume_of(trials, reference) == pytest.approx(of_front)
    assert hypervolume_of(trials[4:], reference) == 0.0


def test_reference_encloses_stopped_trials_too():
    assert reference_of(search_of_six()) == Reference(smallest=500, largest=40_000)


def test_without_scores_the_reference_goes_from_the_largest_loss_to_zero():
    trials = [unscored(0, 1000, 2.0), unscored(1, 4000, 1.0)]
    reference = reference_of(trials)
    assert reference == Reference(smallest=1000, largest=4000, worst=-2.0, best=0.0)
    assert hypervolume_of([*trials, unscored(2, 2000, 1.0)], reference) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(0)],
        [trial(0, outcome="pruned"), trial(1, activated=7, outcome="pruned")],
    ],
)
def test_trials_that_span_no_plane_have_no_reference(trials: list[TrialResult]):
    assert reference_of(trials) is None


def test_losses_of_zero_span_no_plane():
    assert reference_of([unscored(0, 10, 0.0), unscored(1, 20, 0.0)]) is None


def unscored(number: int, activated: int, val_loss: float) -> TrialResult:
    made = trial(number, activated=activated, val_loss=val_loss)
    reports = tuple(dataclasses.replace(one, correct=0, scored=0) for one in made.reports)
    return dataclasses.replace(made, reports=reports)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"smallest": 0, "largest": 5}, "activated parameters"),
        ({"smallest": 5, "largest": 5}, "found 5 to 5"),
        ({"smallest": 1, "largest": math.inf}, "activated parameters"),
        ({"smallest": 1, "largest": 5, "worst": 1.0}, "from worst to better"),
        ({"smallest": 1, "largest": 5, "worst": math.nan}, "from worst to better"),
    ],
)
def test_a_reference_without_an_area_is_refused(bad: dict[str, float], said: str):
    with pytest.raises(ConfigError, match=said):
        Reference(**bad)


def test_scales_an_array_of_any_shape():
    assert BUILTIN.log_size(np.array([[600, 40_000]])).tolist() == [[0.0, 1.0]]
    assert BUILTIN.merit([[-1.0, 0.5]]).tolist() == [[0.0, 0.5]]
