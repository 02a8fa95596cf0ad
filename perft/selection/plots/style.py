"""How all figures look, and how they become PNG or SVG."""

import io
from itertools import cycle

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perft.config import VARIANTS
from perft.errors import printable

# Okabe and Ito's palette, then three of Tol's: told apart by colour-blind readers too.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442", "#56B4E9", "#000000",
    "#999999", "#882255", "#117733", "#332288",
)  # fmt: skip
COLOURS = dict(zip(VARIANTS, cycle(PALETTE), strict=False))
"""The colour of each variant, the same in every figure."""
FRONT, BASE, FAINT = "#444444", "#B22222", "#B8B8B8"


def new_axes(width: float = 8.0, height: float = 5.0) -> tuple[Figure, Axes]:
    """A figure of so many inches, and its only axes."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def set_title(axes: Axes, title: str) -> None:
    """Writes a title as it is: it may come from anyone."""
    axes.set_title(printable(title), parse_math=False)


def to_png(figure: Figure) -> bytes:
    """The figure as a picture, 150 pixels an inch."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an element of a page; the same figure gives the same text.

    Args:
        figure: the figure; an artist's `gid` becomes its element's id.
        name: of the figure, unique on its page: it tells apart what figures define for themselves.
    """
    picture = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
    text = picture.getvalue()
    return text[text.index("<svg") :]
