"""The expected gain equals the mean gain of drawn values, by a naive count of the area."""

import numpy as np
import pytest

from perft.searching.sampling.expected_gain import expected_gain, expected_improvement

CORNER = (1.0, 0.0)


def area(trials: list[tuple[float, float]]) -> float:
    """The area that trials dominate, on a fine grid of sizes."""
    sizes = (np.arange(4000) + 0.5) / 4000
    best = np.zeros(4000)
    for size, value in trials:
        best = np.where(sizes >= size, np.maximum(best, value), best)
    return float(best.mean())


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [(0.5, 0.4)],
        [(0.1, 0.2), (0.5, 0.4), (0.6, 0.3), (0.9, 0.9)],
        [(0.3, -1.0), (0.3, 0.5), (0.3, 0.4), (2.0, 9.0)],
    ],
)
@pytest.mark.parametrize("size", [0.0, 0.3, 0.55, 0.95, 1.2])
def test_it_is_the_mean_gain(trials: list[tuple[float, float]], size: float) -> None:
    values = np.random.default_rng(0).normal(0.45, 0.2, 400)
    gains = [area([*trials, (size, float(value))]) - area(trials) for value in values]
    mean, deviation = np.array([0.45]), np.array([0.2])
    found = expected_gain(np.array([size]), mean, deviation, trials, CORNER)[0]
    assert found == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / 20 + 1e-3)


def test_what_is_sure_gains_its_area() -> None:
    found = expected_gain(
        np.array([0.25, 0.25, 0.75]),
        np.array([0.5, 0.1, 0.5]),
        np.full(3, 1e-9),
        [(0.5, 0.4)],
        CORNER,
    )
    assert found == pytest.approx([0.25 * 0.5 + 0.5 * 0.1, 0.25 * 0.1, 0.25 * 0.1])


def test_an_improvement_is_never_negative_and_grows_with_doubt() -> None:
    found = expected_improvement(np.array([0.0, 0.0, 1.0]), np.array([0.1, 1.0, 1e-9]), 0.5)
    assert 0 <= found[0] < found[1] < found[2] == pytest.approx(0.5)
