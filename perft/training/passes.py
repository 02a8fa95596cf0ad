"""Splits a step of a pack over forward passes: whole trials, as many as one pass should take.

A CPU is fastest when a pass's activations stay in its caches, an accelerator when a pass is large.
A trial is never split: its load-balancing loss is of its whole batch.
"""

from collections.abc import Mapping

TOKENS_ON_CPU = 4096
TOKENS_ON_ACCELERATOR = 65_536


def tokens_per_pass(device: str) -> int:
    """Padded tokens that one forward pass should take on a `device` of this type."""
    return TOKENS_ON_CPU if device == "cpu" else TOKENS_ON_ACCELERATOR


def passes(shapes: Mapping[str, tuple[int, int]], tokens: int) -> list[list[str]]:
    """Which trials go through the base together; in the order given, each in one pass.

    Args:
        shapes: rows and longest row (tokens) of each trial's batch.
        tokens: padded tokens of one pass; a trial that is larger goes alone.
    """
    found: list[list[str]] = []
    rows = length = 0
    for name, (its_rows, its_length) in shapes.items():
        if found and (rows + its_rows) * max(length, its_length) <= tokens:
            found[-1].append(name)
            rows, length = rows + its_rows, max(length, its_length)
        else:
            found.append([name])
            rows, length = its_rows, its_length
    return found
