"""The front as an interactive Plotly figure, for notebooks."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from perft.base_score import BaseScore
from perft.errors import printable
from perft.selection.front import pareto_front
from perft.selection.pick import picks
from perft.selection.plots.facts import facts, varied
from perft.selection.plots.front import X_LABEL
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
from perft.selection.plots.style import BASE, COLOURS, FAINT, FRONT
from perft.trial import TrialResult


def front_figure(
    results: Sequence[TrialResult], base: BaseScore | None = None, title: str = ""
) -> go.Figure:
    """The front as a Plotly figure; a point tells its trial's configuration under the pointer.

    Args:
        results: all trials of a search.
        base: the score of the base alone; None if it was not scored.
        title: of the figure.
    """
    figure = go.Figure()
    _add_front(figure, results)
    _add_trials(figure, results)
    _add_pruned(figure, results)
    _add_means(figure, results)
    at, labels = ticks(results)
    if line := base_line(results, base):
        figure.add_scatter(
            x=[at[0], at[-1]], y=[line.y, line.y], mode="lines", name=line.label,
            hoverinfo="skip", line={"color": BASE, "width": 1.2, "dash": "dash"},
        )  # fmt: skip
        if line.band:
            figure.add_hrect(*line.band, fillcolor=BASE, opacity=0.08, line_width=0, layer="below")
    figure.update_layout(
        template="plotly_white", title=html.escape(printable(title)) or None,
        xaxis_title=X_LABEL, yaxis_title=y_label(results),
    )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=at, ticktext=labels)
    return figure


def _add_front(figure: go.Figure, results: Sequence[TrialResult]) -> None:
    front, picked = pareto_front(results), picks(results)
    points = points_of(front)
    figure.add_scatter(
        x=points.x, y=points.y, mode="lines+markers+text", name="Pareto front", hoverinfo="skip",
        line={"shape": "hv", "color": FRONT, "width": 1.5},
        marker={"symbol": "circle-open", "size": 15},
        text=[f"{trial.number} {picked[trial.number]}".strip() for trial in front],
        textposition="top right",
    )  # fmt: skip


def _add_trials(figure: go.Figure, results: Sequence[TrialResult]) -> None:
    at, picked, settings = places(results), picks(results), varied(results)
    for variant, trials in by_variant(results).items():
        points = points_of(trials)
        bars = {"type": "data", "array": points.up, "arrayminus": points.down, "thickness": 1}
        figure.add_scatter(
            x=[at[trial.number] for trial in trials], y=points.y, mode="markers", name=variant,
            error_y=bars, marker={"size": 9, "color": COLOURS[variant]},
            text=[_hover(trial, settings, picked.get(trial.number, "")) for trial in trials],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip


def _add_pruned(figure: go.Figure, results: Sequence[TrialResult]) -> None:
    known = [each for each in pruned(results) if each.y is not None]
    settings = varied(results)
    if known:
        figure.add_scatter(
            x=[each.x for each in known], y=[each.y for each in known], mode="markers",
            name="pruned, at its last report", marker={"size": 6, "color": FAINT, "opacity": 0.6},
            text=[_hover(each.trial, settings) for each in known],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip


def _add_means(figure: go.Figure, results: Sequence[TrialResult]) -> None:
    if (found := means(results)).x:
        bars = {"type": "data", "array": found.up, "arrayminus": found.down, "thickness": 1}
        figure.add_scatter(
            x=found.x, y=found.y, mode="markers", name="mean of other seeds", hoverinfo="skip",
            error_y=bars, marker={"symbol": "x", "size": 8, "color": FRONT},
        )  # fmt: skip


def _hover(trial: TrialResult, settings: Sequence[str], pick: str = "") -> str:
    first, *rest = map(html.escape, map(printable, facts(trial, settings, pick)))
    return "<br>".join([f"<b>{first}</b>", *rest])
