"""Checks of single settings: each raises `ConfigError` with what was found and what was wanted."""

import math
import re
import reprlib
from collections.abc import Collection
from typing import TypeGuard

from perft.errors import ConfigError, unknown
from perft.masking import masked

LARGEST = 2**31 - 1
"""The largest whole number that a setting may be, as far as it has no closer bound."""
LARGEST_SEED = 2**32 - 1
"""The largest seed that all generators of random numbers take."""

_LARGEST_FLOAT = 3.4e38
_LARGEST_WHOLE = 2**53  # up to which a float is exact
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST = 80  # characters of a value that an error shows
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _LONGEST
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist = 2, 3, 3


def shown(value: object) -> str:
    """A value as errors show it: one line of few characters."""
    try:
        return masked(_SHORT.repr(value))
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"


def is_whole(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite float in the range of 32-bit ones, or an integer that is one."""
    if is_whole(value):
        return bool(abs(value) <= _LARGEST_WHOLE)
    return isinstance(value, float) and math.isfinite(value) and abs(value) <= _LARGEST_FLOAT


def require_whole(name: str, value: object, least: int, most: int = LARGEST) -> None:
    """Refuses what is no whole number in [least, most]."""
    if not (is_whole(value) and value >= least):
        raise ConfigError(
            f"{name} must be a whole number of at least {least}, found {shown(value)}"
        )
    if value > most:
        raise ConfigError(f"{name} must be at most {most:,}, found {shown(value)}")


def require_positive(name: str, value: object, most: int = LARGEST) -> None:
    """Refuses what is no whole number of at least 1, or more than `most`."""
    require_whole(name, value, 1, most)


def require_bool(name: str, value: object) -> None:
    """Refuses what is neither True nor False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, found {shown(value)}")


def require_text(name: str, value: object, *, most: int = 10_000) -> None:
    """Refuses what is no text of at least one and at most so many characters."""
    if not (isinstance(value, str) and value.strip()):
        raise ConfigError(f"{name} must be a text that is not blank, found {shown(value)}")
    if len(value) > most:
        raise ConfigError(f"{name} must have at most {most:,} characters, found {len(value):,}")
    if _SURROGATE.search(value):
        raise ConfigError(f"{name} must be text in UTF-8, found {shown(value)}")


def require_name(name: str, value: object, *, most: int = 200) -> None:
    """Refuses what is no name: one line of printable text, of at most so many characters."""
    require_text(name, value, most=most)
    if not str(value).isprintable():
        raise ConfigError(f"{name} must be printable text in one line, found {shown(value)}")


def require_positive_number(name: str, value: object) -> None:
    """Refuses what is no finite number above 0."""
    if not (is_number(value) and value > 0):
        raise ConfigError(f"{name} must be a positive number, found {shown(value)}")


def require_at_least_zero(name: str, value: object) -> None:
    """Refuses what is no finite number of at least 0."""
    if not (is_number(value) and value >= 0):
        raise ConfigError(f"{name} must be a number of at least 0, found {shown(value)}")


def require_number(name: str, value: object) -> None:
    """Refuses what is no finite number."""
    if not is_number(value):
        raise ConfigError(f"{name} must be a finite number, found {shown(value)}")


def require_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuses what is none of `choices`, naming the nearest."""
    if not (isinstance(value, str) and value in choices):
        raise ConfigError(unknown(name, value if isinstance(value, str) else shown(value), choices))
