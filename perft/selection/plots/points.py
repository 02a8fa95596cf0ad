"""The points of a front's plot: where each trial, the base and the means of other seeds are drawn.

Trials of one size lie side by side, so that none hides another; what is told of a trial is exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import EngFormatter

from perft.base_score import BaseScore
from perft.config import VARIANTS
from perft.selection.confirm import confirmed
from perft.selection.front import complete, is_scored, pareto_front, size_and_report
from perft.selection.interval import accuracy_interval, format_base, wilson
from perft.trial import TrialResult, is_confirmation

_STEP = 0.012  # between neighbours of one size, as a share of the axis
_CROWDED = 0.4  # of the way to the next size, which neighbours never pass


@dataclass(frozen=True)
class Points:
    """Trials as coordinates: parameters, accuracy in percent, length of the error bars.

    If the task scores no answers, the loss without bars.
    """

    x: list[float]
    y: list[float]
    up: list[float]
    down: list[float]


@dataclass(frozen=True)
class BaseLine:
    """The base alone as a horizontal line.

    Attributes:
        y: where it is drawn.
        label: its score, and that it is farther away, if that would squeeze the points.
        band: its 95% interval in percent; None without one, or if the base is farther away.
    """

    y: float
    label: str
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class Pruned:
    """A trial that was stopped, or failed, after it had reported.

    Attributes:
        trial: the trial.
        x: its activated parameters.
        y: what its last report scored; None if that report scored no answers.
    """

    trial: TrialResult
    x: float
    y: float | None


def by_variant(results: Sequence[TrialResult]) -> dict[str, list[TrialResult]]:
    """The full-length trials by variant, in the table's order; without variants that have none."""
    trials = complete(results)
    groups = {
        variant: [trial for trial in trials if trial.config.adapter.variant == variant]
        for variant in VARIANTS
    }
    return {variant: group for variant, group in groups.items() if group}


def y_label(results: Sequence[TrialResult]) -> str:
    """What the vertical axis shows."""
    if is_scored(complete(results)):
        return "validation accuracy (%)"
    return "validation loss (nats per token)"


def points_of(trials: Sequence[TrialResult]) -> Points:
    """The points of full-length trials, each at its own size."""
    pairs = [size_and_report(trial) for trial in trials]
    x = [float(size.activated) for size, _ in pairs]
    if not is_scored(trials):
        none = [0.0] * len(pairs)
        return Points(x, [report.val_loss for _, report in pairs], none, none)
    shares = [(report.accuracy, *accuracy_interval(report)) for _, report in pairs]
    return Points(
        x=x,
        y=[100 * accuracy for accuracy, _, _ in shares],
        # At 0 and 1 rounding may put the share a hair outside its interval.
        up=[max(0.0, 100 * (high - accuracy)) for accuracy, _, high in shares],
        down=[max(0.0, 100 * (accuracy - low)) for accuracy, low, _ in shares],
    )


def places(results: Sequence[TrialResult]) -> dict[int, float]:
    """By number of a full-length trial, where on the horizontal axis it is drawn.

    A trial of the front is at its size. The others of that size are beside it, by turns right and
    left, in the order of their numbers.
    """
    front = {trial.number for trial in pareto_front(results)}
    groups: dict[int, list[int]] = {}
    for trial in complete(results):
        groups.setdefault(size_and_report(trial)[0].activated, []).append(trial.number)
    sizes = sorted(groups)
    span = math.log(sizes[-1] / sizes[0]) if len(sizes) > 1 else 1.0
    found = {}
    for index, size in enumerate(sizes):
        near = [other for other in sizes[max(0, index - 1) : index + 2] if other != size]
        gap = min((abs(math.log(other / size)) for other in near), default=span)
        group = sorted(groups[size], key=lambda number: (number not in front, number))
        step = min(_STEP * span, _CROWDED * gap / len(group))
        for turn, number in enumerate(group):
            aside = (turn + 1) // 2 * (1 if turn % 2 else -1)
            found[number] = size * math.exp(step * aside) if aside else float(size)
    return found


def pruned(results: Sequence[TrialResult]) -> list[Pruned]:
    """The trials that reported but did not end at full length, without confirmations."""
    scored = is_scored(complete(results))
    found = []
    for trial in results:
        if trial.outcome == "complete" or is_confirmation(trial.origin):
            continue
        if trial.size is None or trial.last is None or not math.isfinite(trial.last.val_loss):
            continue
        y: float | None = trial.last.val_loss
        if scored:
            y = 100 * trial.last.accuracy if trial.last.scored else None
        found.append(Pruned(trial, float(trial.size.activated), y))
    return found


def base_line(results: Sequence[TrialResult], base: BaseScore | None) -> BaseLine | None:
    """The line of the base, at most the points' own range away from them."""
    if base is None or not complete(results):
        return None
    points = points_of(complete(results))
    low = min(y - down for y, down in zip(points.y, points.down, strict=True))
    high = max(y + up for y, up in zip(points.y, points.up, strict=True))
    label = f"base alone: {format_base(base)}"
    y = base.val_loss if base.accuracy is None else 100 * base.accuracy
    drawn = min(max(y, 2 * low - high), 2 * high - low)
    if drawn != y:
        return BaseLine(drawn, f"{label}, {'below' if y < drawn else 'above'}")
    if base.is_tie or not base.validation.scored:
        return BaseLine(y, label)
    least, most = wilson(*base.validation)
    return BaseLine(y, label, (100 * least, 100 * most))


def means(results: Sequence[TrialResult]) -> Points:
    """The means over other seeds at the sizes of their trials, with their 95% intervals."""
    known = {number: found for number, found in confirmed(results).items() if found.values}
    trials = [trial for trial in pareto_front(results) if trial.number in known]
    scale = 100 if is_scored(trials) else -1
    y = [scale * known[trial.number].mean for trial in trials]
    ends = [
        sorted(scale * end for end in known[trial.number].interval or (known[trial.number].mean,))
        for trial in trials
    ]
    return Points(
        x=[float(size_and_report(trial)[0].activated) for trial in trials],
        y=y,
        up=[max(0.0, end[-1] - mean) for mean, end in zip(y, ends, strict=True)],
        down=[max(0.0, mean - end[0]) for mean, end in zip(y, ends, strict=True)],
    )


def ticks(results: Sequence[TrialResult]) -> tuple[list[int], list[str]]:
    """Ticks 1, 2, 5, 10, ... with labels such as "20 k", from below the first point to above."""
    sizes = [size_and_report(trial)[0].activated for trial in complete(results)]
    x = [*sizes, *(int(each.x) for each in pruned(results))] or [1]
    ladder = [digit * 10**power for power in range(len(str(max(x))) + 1) for digit in (1, 2, 5)]
    first = max(tick for tick in ladder if tick <= min(x))
    last = min(tick for tick in ladder if tick >= max(x))
    within = [tick for tick in ladder if first <= tick <= last]
    write = EngFormatter()
    return within, [write(tick) for tick in within]
