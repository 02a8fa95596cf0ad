"""Finds the answer in a generated text, by the published rules of LLM-Adapters (Hu et al. 2023).

Invariant: every function is pure, and what is not found is None, never a guess. All rules are
case-sensitive and work on the text after "### Response:".
"""

import math
import re

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
    """Whether `extracted` is within 0.001 of `label`; both must be numbers (`is_number`)."""
    return abs(to_number(extracted) - to_number(label)) <= _TOLERANCE


def first_option(text: str) -> str | None:
    """The first capital A to E anywhere in `text`; None when there is none.

    The rule published for AQuA. It is noisy: "A: He pays ..." counts as option A, and "Because"
    as option B.
    """
    found = _OPTION.search(text)
    return found.group() if found else None


def options_match(extracted: str, label: str) -> bool:
    """Whether the two options are the same."""
    return extracted == label


def to_number(text: str) -> float:
    """The value of a number in which commas may separate thousands.

    Raises:
        ValueError: when `text` is no number.
    """
    return float(text.replace(",", ""))


def is_number(text: str) -> bool:
    """Whether `text` can be the label of a numeric task: a finite number."""
    try:
        return math.isfinite(to_number(text))
    except ValueError:
        return False


def is_option(text: str) -> bool:
    """Whether `text` can be the label of AQuA: one capital from A to E."""
    return _OPTION.fullmatch(text) is not None
