"""How much each parameter mattered, as a picture."""

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perft.selection.importance import SHOWN, Importance

_FRONT, _ACCURACY = "#0072B2", "#E69F00"
_HEIGHT = 0.38  # of a bar; a parameter has two


def importance_png(found: Sequence[Importance], title: str) -> bytes:
    """The picture: two bars for each parameter, the most important on top.

    Args:
        found: at least one, greatest first.
        title: of the picture.
    """
    shown = list(found[:SHOWN])
    figure = Figure(figsize=(8, 1.6 + 0.4 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(shown))
    axes.barh(
        [place - _HEIGHT / 2 for place in places], [100 * each.front for each in shown],
        height=_HEIGHT, color=_FRONT, label="being on or near the front",
    )  # fmt: skip
    axes.barh(
        [place + _HEIGHT / 2 for place in places], [100 * each.accuracy for each in shown],
        height=_HEIGHT, color=_ACCURACY, label="being among the most accurate",
    )  # fmt: skip
    axes.set_yticks(list(places), [each.parameter for each in shown], parse_math=False)
    axes.invert_yaxis()
    axes.set_title(title, parse_math=False)
    axes.set(xlabel="share of the importance (%, PED-ANOVA)")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
