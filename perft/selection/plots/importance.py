"""How much each parameter mattered, as a picture."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from perft.errors import printable
from perft.selection.importance import SHOWN, Importance
from perft.selection.plots.style import new_axes, set_title, to_png

_FRONT, _ACCURACY = "#0072B2", "#E69F00"
_HEIGHT = 0.38  # of a bar; a parameter has two


def importance_png(found: Sequence[Importance], title: str) -> bytes:
    """The picture, 1200 pixels wide."""
    return to_png(draw_importance(found, title))


def draw_importance(found: Sequence[Importance], title: str = "") -> Figure:
    """Two bars for each parameter, the most important on top.

    Args:
        found: at least one, greatest first.
        title: of the figure.
    """
    shown = list(found[:SHOWN])
    figure, axes = new_axes(height=1.6 + 0.4 * len(shown))
    places = range(len(shown))
    axes.barh(
        [place - _HEIGHT / 2 for place in places], [100 * each.front for each in shown],
        height=_HEIGHT, color=_FRONT, label="being on or near the front",
    )  # fmt: skip
    axes.barh(
        [place + _HEIGHT / 2 for place in places], [100 * each.accuracy for each in shown],
        height=_HEIGHT, color=_ACCURACY, label="being among the most accurate",
    )  # fmt: skip
    names = [printable(each.parameter) for each in shown]
    axes.set_yticks(list(places), names, parse_math=False)
    axes.invert_yaxis()
    set_title(axes, title)
    axes.set(xlabel="share of the importance (%, PED-ANOVA)")
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, loc="lower right")
    return figure
