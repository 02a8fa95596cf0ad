"""The hypervolume of a Pareto front: one number for how much of the plane it beats.

It is the area, in the plane of `objective` over the logarithm of the activated parameters, of all
points that some trial of the front beats (Zitzler and Thiele, 1998, "Multiobjective Optimization
Using Evolutionary Algorithms"). The plane is cut to a `Reference`, whose sides are scaled to 1: so
a hypervolume lies in [0, 1], and two can be compared only if they have the same reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perft.errors import ConfigError
from perft.selection.front import complete, is_scored, objective, size_and_report
from perft.trial import TrialResult


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The part of the plane in which a hypervolume is measured.

    Attributes:
        smallest: activated parameters at which the logarithm is 0 after scaling; what is smaller
            counts as this.
        largest: activated parameters at which it is 1; what is not smaller adds nothing.
        worst: value of `objective` that adds nothing.
        best: value of `objective` that is scaled to 1; what is better counts as this.
    """

    smallest: float
    largest: float
    worst: float = 0.0
    best: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest < self.largest < math.inf:
            raise ConfigError(
                "the activated parameters of a hypervolume must go from more than 0 to more than "
                f"that, found {self.smallest:g} to {self.largest:g}"
            )
        if not -math.inf < self.worst < self.best < math.inf:
            raise ConfigError(
                "the values of a hypervolume must go from worst to better, found "
                f"{self.worst:g} to {self.best:g}"
            )

    def __str__(self) -> str:
        values = (
            f"accuracy {self.worst:g} to {self.best:g}"
            if self.worst >= 0
            else f"loss {-self.worst:.4f} to {-self.best:.4g}"
        )
        return (
            f"{values}, {self.smallest:,.0f} to {self.largest:,.0f} activated parameters on a "
            "logarithmic scale"
        )

    def log_size(self, activated: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The scaled logarithm of activated parameters, in [0, 1]; of the same shape."""
        log, low, high = np.log(activated), math.log(self.smallest), math.log(self.largest)
        return np.clip((log - low) / (high - low), 0.0, 1.0)

    def merit(self, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The scaled values of `objective`, in [0, 1]; of the same shape."""
        scaled = (np.asarray(value, dtype=np.float64) - self.worst) / (self.best - self.worst)
        return np.clip(scaled, 0.0, 1.0)


BUILTIN = Reference(smallest=600, largest=40_000)
"""Accuracy from 0 to 1 over the adapters that the built-in base's spaces `arithmetic` and
`commonsense` draw."""


def hypervolume(
    activated: npt.ArrayLike, value: npt.ArrayLike, reference: Reference = BUILTIN
) -> float:
    """The area that is beaten by at least one point, in [0, 1]; 0 for no points.

    Args:
        activated: activated parameters of each point, of shape (points,).
        value: its `objective`, of the same shape; where it is not a number, the point is left out.
        reference: the plane's part.
    """
    # A point beats all to its right, so up to the next one it is the best so far that counts.
    known = ~np.isnan(np.asarray(value, dtype=np.float64))
    x, y = reference.log_size(activated)[known], reference.merit(value)[known]
    order = np.argsort(x, kind="stable")
    edges = np.append(x[order], 1.0)
    return float(np.sum(np.diff(edges) * np.maximum.accumulate(y[order])))


def hypervolume_of(trials: Sequence[TrialResult], reference: Reference) -> float:
    """The hypervolume of the full-length trials among these."""
    points = [size_and_report(trial) for trial in complete(trials)]
    sizes = [size.activated for size, _ in points]
    return hypervolume(sizes, [objective(report) for _, report in points], reference)


def reference_of(trials: Sequence[TrialResult]) -> Reference | None:
    """A reference that encloses some trials, from all searches that are to be compared.

    Sizes of stopped trials count too. The worst value is an accuracy of 0, or the largest loss of a
    full-length trial, and the best is an accuracy of 1, or a loss of 0.

    Returns:
        None if they span no plane: none has reached its full length, all have one size, or no loss
        is above 0.
    """
    ended = complete(trials)
    sizes = [trial.size.activated for trial in trials if trial.size]
    if not ended or min(sizes) == max(sizes):
        return None
    smallest, largest = min(sizes), max(sizes)
    if is_scored(ended):
        return Reference(smallest=smallest, largest=largest)
    worst = min(objective(size_and_report(trial)[1]) for trial in ended)
    if worst >= 0:
        return None
    return Reference(smallest=smallest, largest=largest, worst=worst, best=0.0)


def reference_for(trials: Sequence[TrialResult], *, is_builtin: bool) -> Reference | None:
    """The reference in which the hypervolume of one search is shown.

    Args:
        trials: the search's.
        is_builtin: whether its base is the built-in one, whose spaces have a reference of theirs.

    Returns:
        None if the trials span no plane.
    """
    ended = complete(trials)
    return BUILTIN if is_builtin and ended and is_scored(ended) else reference_of(trials)
