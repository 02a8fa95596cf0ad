"""Shapes and initial distributions of an adapter's tensors. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of an adapter's tensors at one place, by kind."""


@dataclass(frozen=True)
class Start:
    """A tensor's initial distribution: uniform in [-uniform, uniform], or N(0, normal^2).

    Zeros if neither is given.
    """

    uniform: float = 0.0
    normal: float = 0.0


def as_init_says(_of: object) -> Mapping[str, Start]:
    """Empty: every tensor is initialised according to `init`."""
    return {}
