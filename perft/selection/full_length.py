"""Predicts what a stopped trial would have reached at its full length, from those that went on.

A loss falls from a rung to the end by about the same factor in all trials of a search, whatever
their configuration: the median over the full-length trials is little moved by a few unusual ones.
The accuracy follows from the loss by a straight line over its logarithm.
"""

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from perft.selection.front import objective
from perft.trial import Report

_TINY = 1e-9  # a loss may be 0
_SPREAD = 0.3  # of log losses, before any trial has ended
_WEIGHT = 4  # trials that this guess counts as


class FullLength:
    """Predicts objectives at full length.

    Args:
        curves: the reports of each trial so far, by step.
        steps: optimiser steps of the full length.
    """

    def __init__(self, curves: Iterable[Sequence[Report]], steps: int) -> None:
        self._steps = steps
        curves = [curve for curve in curves if curve]
        ended = [curve for curve in curves if curve[-1].step == steps]
        self._falls: dict[int, list[float]] = {}
        for *earlier, end in ended:
            for report in earlier:
                self._falls.setdefault(report.step, []).append(_log(end) - _log(report))
        self._scored = [report for curve in curves for report in curve if report.scored]
        self._is_scored = bool(self._scored) and all(curve[-1].scored for curve in ended)

    def log_loss(self, report: Report) -> tuple[float, float]:
        """The logarithm of a trial's loss at full length, and the standard deviation of that guess.

        While no trial has ended, the loss counts as it is.

        Args:
            report: the trial's last.
        """
        if report.step == self._steps:
            return _log(report), 0.0
        falls = np.array(self._falls.get(report.step, []))
        middle = float(np.median(falls)) if len(falls) else 0.0
        squares = float(((falls - middle) ** 2).sum()) + _WEIGHT * _SPREAD**2
        return _log(report) + middle, math.sqrt(squares / (len(falls) + _WEIGHT))

    def objective(self, report: Report) -> float:
        """A trial's objective at full length.

        It is `perft.selection.objective`'s: the accuracy, or minus the loss if answers are not
        scored.

        Args:
            report: the trial's last.
        """
        if report.step == self._steps:
            return objective(report)
        log_loss, _ = self.log_loss(report)
        if not self._is_scored:
            return -math.exp(log_loss)
        slope, offset = self._line
        return min(max(slope * log_loss + offset, 0.0), 1.0)

    @functools.cached_property
    def _line(self) -> tuple[float, float]:
        return _line(self._scored)


def _log(report: Report) -> float:
    return math.log(max(report.val_loss, _TINY))


def _line(scored: Sequence[Report]) -> tuple[float, float]:
    """Slope and offset of accuracies over log losses; level if losses do not tell them apart."""
    losses = np.array([_log(report) for report in scored])
    accuracies = np.array([report.accuracy for report in scored])
    slope = 0.0
    if np.ptp(losses) > _TINY:
        slope = min(float(np.polyfit(losses, accuracies, 1)[0]), 0.0)
    return slope, float(accuracies.mean() - slope * losses.mean())
