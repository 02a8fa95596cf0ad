"""Learning curves: the validation loss of every trial at each of its reports."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, StrMethodFormatter

from perft.selection.front import pareto_front
from perft.selection.plots.style import COLOURS, new_axes
from perft.trial import TrialResult, is_confirmation

_WIDE = 5.0  # a range of losses this wide is drawn on a logarithmic scale


def draw_curves(results: Sequence[TrialResult]) -> Figure | None:
    """The figure; the curve of trial 7 has the gid "curve-7". None if no trial has reported.

    Trials of the front are thick, pruned and failed ones faint and end with a cross, confirmations
    are dotted. Losses that are not finite are left out.
    """
    curves = {trial.number: _curve(trial) for trial in results}
    losses = [loss for curve in curves.values() for _, loss in curve]
    if not losses:
        return None
    figure, axes = new_axes(height=4.2)
    front = {trial.number for trial in pareto_front(results)}
    for trial in results:
        if not (curve := curves[trial.number]):
            continue
        steps, values = zip(*curve, strict=True)
        is_full = trial.outcome == "complete"
        axes.plot(
            steps, values, gid=f"curve-{trial.number}",
            color=COLOURS[trial.config.adapter.variant],
            linewidth=2.2 if trial.number in front else 1.0, alpha=0.9 if is_full else 0.3,
            linestyle=":" if is_confirmation(trial.origin) else "-",
            marker="." if is_full else "x", markersize=5, markevery=[-1],
        )  # fmt: skip
    used = {trial.config.adapter.variant for trial in results if curves[trial.number]}
    keys = [Line2D([], [], color=COLOURS[name], label=name) for name in COLOURS if name in used]
    axes.legend(handles=keys, frameon=False, fontsize="small")
    if min(losses) > 0 and max(losses) > _WIDE * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.minorticks_off()
    axes.set(xlabel="optimiser steps", ylabel="validation loss (nats)")
    return figure


def _curve(trial: TrialResult) -> list[tuple[int, float]]:
    reports = [(report.step, report.val_loss) for report in trial.reports]
    return [(step, loss) for step, loss in reports if math.isfinite(loss)]
