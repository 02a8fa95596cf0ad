"""Checks of single settings: each raises `ConfigError` with what was found and what was wanted."""

import math
from typing import Any

from perft.errors import ConfigError, unknown


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether `value` is an integer or a finite float."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def require_positive(name: str, value: Any) -> None:
    """Refuses what is no whole number of at least 1."""
    if not (is_whole(value) and value >= 1):
        raise ConfigError(f"{name} must be a whole number of at least 1, found {value!r}")


def require_positive_number(name: str, value: Any) -> None:
    """Refuses what is no finite number above 0."""
    if not (is_number(value) and value > 0):
        raise ConfigError(f"{name} must be a positive number, found {value!r}")


def require_at_least_zero(name: str, value: Any) -> None:
    """Refuses what is no finite number of at least 0."""
    if not (is_number(value) and value >= 0):
        raise ConfigError(f"{name} must be a number of at least 0, found {value!r}")


def require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuses what is none of `choices`, naming the nearest."""
    if value not in choices:
        raise ConfigError(unknown(name, str(value), choices))
