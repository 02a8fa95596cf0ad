"""The Pareto plot: an interactive page that works offline, and a picture.

Both show the same points: every full-length trial with its 95% interval, the front as steps, and
the score of the base alone as a line. Where the front was trained again with other seeds, crosses
are the means. Pruned and failed trials, and these trainings themselves, are not on it.
"""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import plotly.graph_objects as go
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from perft.base_score import BaseScore
from perft.config import VARIANTS
from perft.selection.confirm import confirmed
from perft.selection.front import complete, is_scored, pareto_front, size_and_report
from perft.selection.interval import accuracy_interval, format_base, format_score
from perft.selection.table import describe_origin
from perft.trial import TrialResult

# Okabe and Ito's palette, then three of Tol's: told apart by colour-blind readers too.
_PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442", "#56B4E9", "#000000",
    "#999999", "#882255", "#117733", "#332288",
)  # fmt: skip
_COLOURS = dict(zip(VARIANTS, cycle(_PALETTE), strict=False))
_FRONT = "#444444"
_BASE = "#B22222"
_X = "activated PEFT parameters per token (log scale)"
_MEANS = "mean of other seeds"
_ACCURACY, _LOSS = "validation accuracy (%)", "validation loss (nats per token)"


@dataclass(frozen=True)
class _Points:
    """Trials as coordinates: parameters, accuracy in percent, length of the error bars.

    If the task scores no answers, the loss without bars.
    """

    x: list[int]
    y: list[float]
    up: list[float]
    down: list[float]


@dataclass(frozen=True)
class _BaseLine:
    """The base alone as a horizontal line.

    Attributes:
        y: where it is drawn.
        label: its score, and that it is farther away, if that would squeeze the points.
    """

    y: float
    label: str


def to_html(results: Sequence[TrialResult], title: str, base: BaseScore | None = None) -> str:
    """One self-contained page with `front_figure`."""
    page: str = front_figure(results, title, base).to_html(
        include_plotlyjs=True, config={"responsive": True}, default_height="95vh"
    )
    return page


def front_figure(
    results: Sequence[TrialResult], title: str, base: BaseScore | None = None
) -> go.Figure:
    """The plot; a point shows its configuration under the pointer."""
    figure = go.Figure()
    front = _points(pareto_front(results))
    figure.add_scatter(
        x=front.x, y=front.y, mode="lines+markers", name="Pareto front", hoverinfo="skip",
        line={"shape": "hv", "color": _FRONT, "width": 1.5},
        marker={"symbol": "circle-open", "size": 15},
    )  # fmt: skip
    for variant, trials in _by_variant(results).items():
        points, colour = _points(trials), _COLOURS[variant]
        bars = {"type": "data", "array": points.up, "arrayminus": points.down, "thickness": 1}
        figure.add_scatter(
            x=points.x, y=points.y, mode="markers", name=variant, error_y=bars,
            marker={"size": 9, "color": colour},
            text=[_hover(trial) for trial in trials], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white", title=html.escape(title), xaxis_title=_X, yaxis_title=_y(results)
    )
    if (means := _means(results)).x:
        figure.add_scatter(
            x=means.x, y=means.y, mode="markers", name=_MEANS, hoverinfo="skip",
            marker={"symbol": "x", "size": 8, "color": _FRONT},
        )  # fmt: skip
    ticks, labels = _ticks(results)
    if line := _base_line(results, base):
        figure.add_scatter(
            x=[ticks[0], ticks[-1]], y=[line.y, line.y], mode="lines", name=line.label,
            hoverinfo="skip", line={"color": _BASE, "width": 1.2, "dash": "dash"},
        )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=labels)
    return figure


def to_png(results: Sequence[TrialResult], title: str, base: BaseScore | None = None) -> bytes:
    """The picture, 1200 by 750 pixels."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    front = _points(pareto_front(results))
    axes.plot(
        front.x, front.y, drawstyle="steps-post", color=_FRONT, linewidth=1.2, marker="o",
        markersize=10, markerfacecolor="none", label="Pareto front",
    )  # fmt: skip
    for variant, trials in _by_variant(results).items():
        points = _points(trials)
        axes.errorbar(
            points.x, points.y, yerr=(points.down, points.up), label=variant, fmt="o",
            color=_COLOURS[variant], markersize=6, elinewidth=1, capsize=2,
        )  # fmt: skip
    if (means := _means(results)).x:
        axes.plot(means.x, means.y, "x", color=_FRONT, markersize=7, label=_MEANS)
    if line := _base_line(results, base):
        axes.axhline(line.y, color=_BASE, linewidth=1, linestyle="--", label=line.label)
    axes.set_title(title, parse_math=False)
    axes.set(xlabel=_X, ylabel=_y(results), xscale="log")
    axes.set_xticks(*_ticks(results))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _by_variant(results: Sequence[TrialResult]) -> dict[str, list[TrialResult]]:
    trials = complete(results)
    groups = {
        variant: [trial for trial in trials if trial.config.adapter.variant == variant]
        for variant in VARIANTS
    }
    return {variant: group for variant, group in groups.items() if group}


def _y(results: Sequence[TrialResult]) -> str:
    return _ACCURACY if is_scored(complete(results)) else _LOSS


def _points(trials: Sequence[TrialResult]) -> _Points:
    pairs = [size_and_report(trial) for trial in trials]
    if not is_scored(trials):
        none = [0.0] * len(pairs)
        losses = [report.val_loss for _, report in pairs]
        return _Points([size.activated for size, _ in pairs], losses, none, none)
    shares = [(report.accuracy, *accuracy_interval(report)) for _, report in pairs]
    return _Points(
        x=[size.activated for size, _ in pairs],
        y=[100 * accuracy for accuracy, _, _ in shares],
        # At 0 and 1 rounding may put the share a hair outside its interval.
        up=[max(0.0, 100 * (high - accuracy)) for accuracy, _, high in shares],
        down=[max(0.0, 100 * (accuracy - low)) for accuracy, low, _ in shares],
    )


def _base_line(results: Sequence[TrialResult], base: BaseScore | None) -> _BaseLine | None:
    """The line of the base, at most the points' own range away from them."""
    if base is None or not complete(results):
        return None
    points = _points(complete(results))
    low = min(y - down for y, down in zip(points.y, points.down, strict=True))
    high = max(y + up for y, up in zip(points.y, points.up, strict=True))
    label = f"base alone: {format_base(base)}"
    y = base.val_loss if base.accuracy is None else 100 * base.accuracy
    drawn = min(max(y, 2 * low - high), 2 * high - low)
    if drawn == y:
        return _BaseLine(y, label)
    return _BaseLine(drawn, f"{label}, {'below' if y < drawn else 'above'}")


def _means(results: Sequence[TrialResult]) -> _Points:
    """The means over other seeds at the sizes of their trials, without bars."""
    known = {number: found for number, found in confirmed(results).items() if found.values}
    trials = [trial for trial in pareto_front(results) if trial.number in known]
    scale = 100 if is_scored(trials) else -1
    return _Points(
        x=[size_and_report(trial)[0].activated for trial in trials],
        y=[scale * known[trial.number].mean for trial in trials],
        up=[],
        down=[],
    )


def _ticks(results: Sequence[TrialResult]) -> tuple[list[int], list[str]]:
    """Ticks 1, 2, 5, 10, ... with labels such as "20 k", from below the first point to above."""
    x = _points(complete(results)).x or [1]
    ladder = [digit * 10**power for power in range(len(str(max(x))) + 1) for digit in (1, 2, 5)]
    first = max(tick for tick in ladder if tick <= min(x))
    last = min(tick for tick in ladder if tick >= max(x))
    ticks = [tick for tick in ladder if first <= tick <= last]
    write = EngFormatter()
    return ticks, [write(tick) for tick in ticks]


def _hover(trial: TrialResult) -> str:
    size, report = size_and_report(trial)
    settings = [f"{name}: {value}" for name, value in trial.config.to_flat().items()]
    return "<br>".join(
        [
            f"<b>trial {trial.number}</b> {describe_origin(trial.origin)}",
            *([f"accuracy {format_score(report)}"] if report.scored else []),
            f"validation loss {report.val_loss:.4f}",
            f"activated {size.activated:,} ({size.activated_percent:.3g}% of the base)",
            f"trainable {size.trainable:,}",
            *settings,
            f"run {html.escape(trial.run_id)}",
        ]
    )
