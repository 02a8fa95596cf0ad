"""The axes of parallel coordinates: which values a parameter took, and where each one lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import EngFormatter

from perft.errors import printable
from perft.files import Json

MISSING = -0.1
"""Where a trial lies on the axis of a parameter that it does not have."""

_DECADE = 10.0  # a range this wide is drawn on a logarithmic scale
_THOUSAND = 1000.0  # from which on numbers are written as "4 k"
_FEW = 6  # whole numbers of so many values are choices, evenly spaced
_LONGEST = 16  # characters of a label


@dataclass(frozen=True)
class Dimension:
    """One axis.

    Attributes:
        name: of the parameter.
        places: of each trial, from 0 at the bottom to 1 at the top; `MISSING` without a value.
        ticks: places and their labels.
    """

    name: str
    places: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def dimension(name: str, values: Sequence[Json]) -> Dimension:
    """The axis of a parameter.

    Args:
        name: of the parameter.
        values: one for each trial; None if it does not have the parameter. One must have it.
    """
    known = [value for value in values if value is not None]
    numbers = [float(value) for value in known if isinstance(value, int | float)]
    is_choice = len(numbers) < len(known) or any(isinstance(value, bool) for value in known)
    is_whole = all(isinstance(value, int) for value in known)
    if is_choice or (is_whole and len(set(numbers)) <= _FEW):
        return _choices(name, values)
    return _scale(name, values, min(numbers), max(numbers))


def _choices(name: str, values: Sequence[Json]) -> Dimension:
    by_text = {str(value): value for value in values if value is not None}
    order = sorted(by_text, key=lambda text: _rank(by_text[text]))
    at = {text: (index + 0.5) / len(order) for index, text in enumerate(order)}
    places = tuple(MISSING if value is None else at[str(value)] for value in values)
    return Dimension(name, places, _with_missing([(at[t], _short(t)) for t in order], places))


def _rank(value: Json) -> tuple[bool, float, str]:
    """Numbers by size, then texts by the alphabet."""
    if isinstance(value, int | float):
        return False, float(value), ""
    return True, 0.0, str(value)


def _scale(name: str, values: Sequence[Json], low: float, high: float) -> Dimension:
    is_log = 0 < low * _DECADE <= high
    ends = (math.log(low), math.log(high)) if is_log else (low, high)
    length = ends[1] - ends[0]

    def place(value: Json) -> float:
        if not isinstance(value, int | float):
            return MISSING
        at = math.log(value) if is_log else float(value)
        return (at - ends[0]) / length if length else 0.5

    middle = ends[0] + length / 2
    middle = math.exp(middle) if is_log else middle
    marks = (low, middle, high) if length else (low,)
    places = tuple(map(place, values))
    return Dimension(name, places, _with_missing([(place(m), _written(m)) for m in marks], places))


def _with_missing(
    marks: Sequence[tuple[float, str]], places: Sequence[float]
) -> tuple[tuple[float, str], ...]:
    return ((MISSING, "none"), *marks) if MISSING in places else tuple(marks)


def _written(number: float) -> str:
    return EngFormatter(places=1)(number) if abs(number) >= _THOUSAND else f"{number:.3g}"


def _short(text: str) -> str:
    line = printable(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
