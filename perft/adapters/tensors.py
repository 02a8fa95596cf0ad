"""An adapter's tensors before they exist: their shapes, and how they start. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of an adapter's tensors at one place, by kind."""


@dataclass(frozen=True)
class Start:
    """How a tensor starts: uniform in [-uniform, uniform], or normal of deviation `normal`.

    Zero where neither is given.
    """

    uniform: float = 0.0
    normal: float = 0.0
