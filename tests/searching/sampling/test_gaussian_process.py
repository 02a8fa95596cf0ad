"""Regression by a Gaussian process, against what is known of it."""

import numpy as np
import pytest

from perft.searching.sampling.gaussian_process import Columns, GaussianProcess

NUMBERS = Columns(np.array([False, False]))
MIXED = Columns(np.array([False, True]))


def process(columns: Columns, rows: np.ndarray, values: np.ndarray) -> GaussianProcess:
    made = GaussianProcess(columns)
    made.tune(rows, values, np.zeros(len(values)))
    made.condition(rows, values, np.zeros(len(values)))
    return made


def test_distances_are_of_each_kind_of_column() -> None:
    rows = np.array([[0.0, 0.0], [0.5, 1.0], [np.nan, 1.0]])
    numbers, choices = MIXED.distances(rows, rows)
    assert numbers.tolist() == [[0.0, 0.25, 1.0], [0.25, 0.0, 1.0], [1.0, 1.0, 0.0]]
    assert choices.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_it_predicts_a_smooth_function() -> None:
    rows = np.random.default_rng(0).random((60, 2))
    values = np.sin(4 * rows[:, 0]) + rows[:, 1]
    made = process(NUMBERS, rows, values)
    asked = np.random.default_rng(1).random((50, 2))
    means, _ = made.predict(asked)
    assert np.abs(means - np.sin(4 * asked[:, 0]) - asked[:, 1]).max() < 0.2


def test_it_tells_choices_apart_and_says_where_it_knows_little() -> None:
    rows = np.array([[x, choice] for x in np.linspace(0, 1, 8) for choice in (0.0, 1.0)])
    made = process(MIXED, rows, rows[:, 1] * 2 + rows[:, 0])
    means, deviations = made.predict(np.array([[0.5, 0.0], [0.5, 1.0], [0.5, 2.0]]))
    assert means[:2] == pytest.approx([0.5, 2.5], abs=0.2)
    assert deviations[2] > 3 * deviations[0]


def test_what_is_less_sure_counts_less() -> None:
    rows = np.array([[0.5, 0.5], [0.5, 0.5]])
    made = GaussianProcess(NUMBERS)
    for variances, nearer in (([0.0, 4.0], 1.0), ([4.0, 0.0], -1.0)):
        made.condition(rows, np.array([1.0, -1.0]), np.array(variances))
        mean, _ = made.predict(rows[:1])
        assert abs(mean[0] - nearer) < 0.5


def test_values_that_are_all_alike_are_predicted() -> None:
    rows = np.random.default_rng(0).random((5, 2))
    means, _ = process(NUMBERS, rows, np.full(5, 0.7)).predict(rows)
    assert means == pytest.approx(np.full(5, 0.7))
