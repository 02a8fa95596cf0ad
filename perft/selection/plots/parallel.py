"""Parallel coordinates: each trial as a line over its parameters, its size and its score.

Source: A. Inselberg, The plane with parallel coordinates, The Visual Computer 1 (1985).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perft.errors import printable
from perft.files import Json
from perft.selection.front import complete, is_scored, objective, pareto_front
from perft.selection.importance import importances, params_of
from perft.selection.plots.dimensions import MISSING, Dimension, dimension
from perft.selection.plots.style import FAINT, new_axes
from perft.trial import TrialResult, is_confirmation

_MOST = 6  # parameters that are drawn, by their importance
_COLOURS = colormaps["viridis"]
_DARKEST, _LIGHTEST = 0.95, 0.1  # parts of the colour map that show on white
_TITLE = 20  # characters of an axis's name


def draw_parallel(results: Sequence[TrialResult]) -> Figure | None:
    """The figure; the line of trial 7 has the gid "parallel-7". None for fewer than two trials.

    The better a full-length trial, the darker its line; the front is thick. The others are grey,
    and end where they have no value.
    """
    trials = [each for each in results if _is_drawn(each)]
    if len(trials) < 2:
        return None
    axes_of = _dimensions(trials)
    figure, axes = new_axes(width=9.0, height=4.2)
    shades, front = _shades(trials), {trial.number for trial in pareto_front(results)}
    for index, trial in sorted(enumerate(trials), key=lambda pair: pair[1].number in shades):
        is_full = trial.number in shades
        line = [each.places[index] for each in axes_of]
        if not is_full and is_scored(complete(trials)):
            line = line[:-1]
        axes.plot(
            range(len(line)), line, gid=f"parallel-{trial.number}",
            color=_COLOURS(shades[trial.number]) if is_full else FAINT,
            alpha=0.85 if is_full else 0.5, linewidth=2.2 if trial.number in front else 1.0,
            clip_on=False,
        )  # fmt: skip
    _draw_axes(axes, axes_of)
    return figure


def _is_drawn(trial: TrialResult) -> bool:
    is_known = trial.last is not None and math.isfinite(trial.last.val_loss)
    return is_known and trial.size is not None and not is_confirmation(trial.origin)


def _dimensions(trials: Sequence[TrialResult]) -> list[Dimension]:
    """The parameters that vary, the size, and last the score."""
    params = [params_of(trial) for trial in trials]
    varied = [
        name
        for name in sorted({name for each in params for name in each})
        if len({repr(each.get(name)) for each in params}) > 1
    ]
    weight = {each.parameter: each.front for each in importances(trials)}
    kept = set(sorted(varied, key=lambda name: -weight.get(name, 0.0))[:_MOST])
    columns: list[tuple[str, list[Json]]] = [
        (name, [each.get(name) for each in params]) for name in varied if name in kept
    ]
    columns.append(("activated", [float(trial.size.activated) for trial in trials if trial.size]))
    score = dimension(*_scores(trials))
    score = replace(score, ticks=tuple(tick for tick in score.ticks if tick[0] != MISSING))
    return [*(dimension(name, values) for name, values in columns), score]


def _scores(trials: Sequence[TrialResult]) -> tuple[str, list[Json]]:
    reports = [trial.last for trial in trials if trial.last]
    if complete(trials) and is_scored(complete(trials)):
        scored = [100 * report.accuracy if report.scored else None for report in reports]
        return "accuracy (%)", list(scored)
    return "validation loss", [report.val_loss for report in reports]


def _shades(trials: Sequence[TrialResult]) -> dict[int, float]:
    """By number of a full-length trial, where in the colour map it is: the best is the darkest."""
    worth = {trial.number: objective(trial.last) for trial in complete(trials) if trial.last}
    if not worth:
        return {}
    low, high = min(worth.values()), max(worth.values())
    span = (high - low) or 1.0
    width = _DARKEST - _LIGHTEST
    return {number: _DARKEST - width * (value - low) / span for number, value in worth.items()}


def _draw_axes(axes: Axes, dimensions: Sequence[Dimension]) -> None:
    for at, each in enumerate(dimensions):
        axes.axvline(at, color="black", linewidth=0.8, zorder=0)
        for place, label in each.ticks:
            axes.text(
                at + 0.03, place, label, fontsize="x-small", va="center", parse_math=False,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )  # fmt: skip
    names = [printable(each.name)[:_TITLE] for each in dimensions]
    axes.set_xticks(range(len(dimensions)), names, fontsize="small", parse_math=False)
    axes.tick_params(axis="x", length=0)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(dimensions) - 0.6)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
