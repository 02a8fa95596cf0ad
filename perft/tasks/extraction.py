"""Finds the answer in a generated text, by the published rules of LLM-Adapters (Hu et al. 2023).

Invariant: every function is pure and returns None for no match, never a guess. All rules are
case-sensitive and work on the text after "### Response:".
"""

import math
import re
from collections.abc import Callable, Sequence

_NUMBER = re.compile(r"-?\d+\.?\d*")
_OPTION = re.compile(r"[A-E]")
_TOLERANCE = 1e-3


def last_number(text: str) -> str | None:
    """The last number in `text`, commas dropped; None when there is none.

    Example: "so 1,200 - 4 = 1,196. The answer is 1,196." gives "1196.", a valid float.
    """
    found = _NUMBER.findall(text.replace(",", ""))
    return found[-1] if found else None


def numbers_match(extracted: str, label: str) -> bool:
    """Whether `extracted` is within 0.001 of `label`; False when either is no finite number."""
    if not (is_number(extracted) and is_number(label)):
        return False
    return abs(_value(extracted) - _value(label)) <= _TOLERANCE


def first_option(text: str) -> str | None:
    """The first capital A to E anywhere in `text`; None when there is none.

    The rule published for AQuA. It is noisy: "A: He pays ..." counts as option A, and "Because"
    as option B.
    """
    found = _OPTION.search(text)
    return found.group() if found else None


def first_choice(choices: Sequence[str]) -> Callable[[str], str | None]:
    """The rule that finds the first of `choices` anywhere in a text; None when there is none.

    The rule published for the commonsense tasks. Of choices that begin alike, it finds the
    first one in `choices`.
    """
    pattern = re.compile("|".join(map(re.escape, choices)))

    def find(text: str) -> str | None:
        found = pattern.search(text)
        return found.group() if found else None

    return find


def labels_match(extracted: str, label: str) -> bool:
    """Whether the two are equal, letter for letter."""
    return extracted == label


def is_number(text: str) -> bool:
    """Whether `text` can be the label of a numeric task: a finite number, commas allowed."""
    try:
        return math.isfinite(_value(text))
    except ValueError:
        return False


def is_option(text: str) -> bool:
    """Whether `text` can be the label of AQuA: one capital from A to E."""
    return _OPTION.fullmatch(text) is not None


def _value(text: str) -> float:
    return float(text.replace(",", ""))
