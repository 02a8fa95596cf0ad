"""The expected gain of a front's hypervolume by a trial whose size is known and score predicted.

Source: M. Emmerich, A. Deutz and J. Klinkenberg, Hypervolume-based expected improvement (2011),
here with one objective known: the sum over the steps of the front, each step's width times the
expected improvement over its height.
"""

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

from perft.searching.sampling.gaussian_process import Array


def expected_gain(
    sizes: Array,
    means: Array,
    deviations: Array,
    trials: Iterable[tuple[float, float]],
    corner: tuple[float, float],
) -> Array:
    """By candidate, the expected gain of the area that the front dominates.

    Args:
        sizes: shape (n): the candidates', in whatever unit areas are measured; less is better.
        means: shape (n): of their predicted values; more is better.
        deviations: shape (n): standard deviations of these.
        trials: size and value of each trial so far.
        corner: the size and value that bound the area.

    Returns:
        Shape (n).
    """
    end, height = corner
    gain = np.zeros(len(sizes))
    start = -math.inf
    for size, value in [*sorted(trials), (end, math.inf)]:
        if value > height:
            width = np.maximum(min(size, end) - np.maximum(sizes, start), 0.0)
            gain += width * expected_improvement(means, deviations, height)
            start, height = size, value
    return gain


def expected_improvement(means: Array, deviations: Array, height: float) -> Array:
    """By candidate, the expectation of what its value exceeds `height` by; all of shape (n)."""
    above = (means - height) / deviations
    density = np.exp(-0.5 * above**2) / math.sqrt(2 * math.pi)
    return np.asarray(deviations * (above * ndtr(above) + density))
