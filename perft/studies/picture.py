"""The picture of a study: curves with 95% intervals over a number."""

from collections.abc import Callable, Mapping
from itertools import cycle, pairwise

from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, StrMethodFormatter

from perft.selection.confirm import Confirmed
from perft.selection.plots.style import BASE, PALETTE, new_axes, to_png
from perft.studies.study import Plot

_MOST_TICKS = 12
_APART = 1.15
"""Ratio of two numbers whose labels do not touch, over two decades."""


def to_picture(plot: Plot, scored: bool, base: float | None) -> bytes:
    """The picture as PNG.

    Args:
        plot: its curves.
        scored: whether the score is an accuracy in [0, 1], and not a loss with a minus.
        base: the value of the base alone, drawn as a line; None if unknown.
    """
    figure, axes = new_axes()
    drawn = _writer(plot, scored)
    for (name, values), colour in zip(plot.lines.items(), cycle(PALETTE), strict=False):
        y = [drawn(found.mean) for found in values.values()]
        axes.errorbar(
            list(values), y, yerr=_reaches(values, drawn), color=colour, marker="o",
            markersize=4, linewidth=1.2, capsize=3, label=name,
        )  # fmt: skip
    alone = 0.0 if plot.y_label else base  # other metrics are differences from the base
    if alone is not None:
        axes.axhline(drawn(alone), color=BASE, linewidth=1, linestyle="--", label=plot.zero)
    axes.set_xlabel(f"{plot.x_label} (log scale)" if plot.is_log else plot.x_label)
    axes.set_ylabel(plot.y_label or ("validation accuracy (%)" if scored else "validation loss"))
    if plot.is_log:
        axes.set(xscale="log")
        numbers = sorted({x for values in plot.lines.values() for x in values})
        apart = all(high > _APART * low for low, high in pairwise(numbers))
        few = apart and len(numbers) <= _MOST_TICKS
        axes.xaxis.set_major_locator(FixedLocator(numbers) if few else LogLocator(subs=(1, 2, 5)))
        large = numbers[-1:] >= [1000]
        axes.xaxis.set_major_formatter(
            EngFormatter(sep="") if large else StrMethodFormatter("{x:g}")
        )
        axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return to_png(figure)


def _writer(plot: Plot, scored: bool) -> Callable[[float], float]:
    """What is drawn of a value."""
    if plot.y_label:
        return float
    return lambda value: 100 * value if scored else -value


def _reaches(
    values: Mapping[float, Confirmed], drawn: Callable[[float], float]
) -> list[list[float]]:
    """How far the intervals reach below and above the means."""
    ends = [found.interval or (found.mean, found.mean) for found in values.values()]
    bars = [sorted(map(drawn, pair)) for pair in ends]
    means = [drawn(found.mean) for found in values.values()]
    pairs = list(zip(bars, means, strict=True))
    return [[max(0.0, mean - low) for (low, _), mean in pairs],
            [max(0.0, high - mean) for (_, high), mean in pairs]]  # fmt: skip
