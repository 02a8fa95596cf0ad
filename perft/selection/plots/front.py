"""The picture of a front: accuracy against activated parameters.

Every full-length trial with its 95% interval, the front as steps, the base alone as a line. Pruned
trials are faint: at what their last report scored, or on the axis if it scored no answers. Where
the front was trained again with other seeds, crosses are the means with their 95% intervals.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perft.base_score import BaseScore
from perft.selection.front import complete, pareto_front
from perft.selection.pick import picks
from perft.selection.plots.points import (
    base_line,
    by_variant,
    means,
    places,
    points_of,
    pruned,
    ticks,
    y_label,
)
from perft.selection.plots.style import (
    BASE,
    COLOURS,
    FAINT,
    FRONT,
    new_axes,
    set_title,
    to_png,
)
from perft.trial import TrialResult

X_LABEL = "activated PEFT parameters per token (log scale)"
_ALL_LABELLED = 16  # trials up to which each has its number beside it, not only those of the front


def front_png(results: Sequence[TrialResult], title: str, base: BaseScore | None = None) -> bytes:
    """The picture, 1200 by 750 pixels."""
    return to_png(draw_front(results, title, base))


def draw_front(
    results: Sequence[TrialResult], title: str = "", base: BaseScore | None = None
) -> Figure:
    """The figure; trial 7 has the gid "front-7", its interval "bar-7"."""
    figure, axes = new_axes()
    _draw_base(axes, results, base)
    _draw_pruned(axes, results)
    front = points_of(pareto_front(results))
    axes.plot(
        front.x, front.y, drawstyle="steps-post", color=FRONT, linewidth=1.2, marker="o",
        markersize=10, markerfacecolor="none", label="Pareto front",
    )  # fmt: skip
    _draw_trials(axes, results)
    if (found := means(results)).x:
        axes.errorbar(
            found.x, found.y, yerr=(found.down, found.up), fmt="x", color=FRONT, markersize=7,
            elinewidth=1, capsize=4, label="mean of other seeds",
        )  # fmt: skip
    _label(axes, results)
    set_title(axes, title)
    axes.set(xlabel=X_LABEL, ylabel=y_label(results), xscale="log")
    axes.set_xticks(*ticks(results))
    axes.minorticks_off()
    # Below the axes: a front and its intervals may be anywhere within them.
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure


def _draw_base(axes: Axes, results: Sequence[TrialResult], base: BaseScore | None) -> None:
    if line := base_line(results, base):
        axes.axhline(line.y, color=BASE, linewidth=1, linestyle="--", label=line.label)
        if line.band:
            axes.axhspan(*line.band, color=BASE, alpha=0.08, linewidth=0)


def _draw_pruned(axes: Axes, results: Sequence[TrialResult]) -> None:
    label = "pruned, at its last report"
    for each in pruned(results):
        on_axis = each.y is None
        axes.plot(
            [each.x], [0.015 if each.y is None else each.y], gid=f"front-{each.trial.number}",
            marker="|" if on_axis else "o", markersize=9 if on_axis else 5, color=FAINT,
            alpha=0.6, linestyle="none", label=label,
            transform=axes.get_xaxis_transform() if on_axis else axes.transData,
        )  # fmt: skip
        label = "_"  # one entry of the legend for all


def _draw_trials(axes: Axes, results: Sequence[TrialResult]) -> None:
    at, front = places(results), {trial.number for trial in pareto_front(results)}
    for variant, trials in by_variant(results).items():
        points, colour, label = points_of(trials), COLOURS[variant], variant
        for trial, y, up, down in zip(trials, points.y, points.up, points.down, strict=True):
            number, x = trial.number, at[trial.number]
            if up or down:
                axes.plot(
                    [x, x], [y - down, y + up], color=colour, linewidth=1, marker="_",
                    markersize=4, alpha=0.8 if number in front else 0.3, gid=f"bar-{number}",
                )  # fmt: skip
            axes.plot([x], [y], "o", color=colour, markersize=6, gid=f"front-{number}", label=label)
            label = "_"  # one entry of the legend for all


def _label(axes: Axes, results: Sequence[TrialResult]) -> None:
    """Writes the numbers of the trials of the front beside them, and which are picked."""
    at, picked = places(results), picks(results)
    trials = complete(results)
    if len(trials) > _ALL_LABELLED:
        trials = pareto_front(results)
    for trial, y in zip(trials, points_of(trials).y, strict=True):
        pick = picked.get(trial.number, "")
        axes.annotate(
            f"{trial.number} {pick}".strip(), (at[trial.number], y), xytext=(6, 4),
            textcoords="offset points", fontsize="small", weight="bold" if pick else "normal",
            color="black" if trial.number in picked else "#777777",
        )  # fmt: skip
