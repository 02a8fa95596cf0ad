"""The shapes of decoding in fixed memory: few, since each needs a capture of its own."""

from perft.evaluation.decoding import Batch, Openings
from perft.evaluation.loss import split_by_length

COLUMNS = 64
"""Columns, also of forward passes over prompts, come in multiples of this."""


def round_up_columns(columns: int) -> int:
    """The smallest number of columns of a bucket that holds `columns`."""
    return -(-columns // COLUMNS) * COLUMNS


def round_up_rows(rows: int) -> int:
    """The smallest number of rows per adapter of a bucket that holds `rows`.

    There are four sizes from a power of two to the next; half of an even size is again a size.
    """
    step = 1 << max(0, rows.bit_length() - 3)
    return -(-rows // step) * step


def plan_batches(rows: int, adapters: int, at_once: int) -> tuple[int, int]:
    """How many batches to make, and the rows of each adapter in a batch's bucket.

    Args:
        rows: those of the adapter that has most.
        adapters: number of adapters.
        at_once: rows of all adapters that fit the memory.
    """
    for parts in range(1, rows):
        each = round_up_rows(-(-rows // parts))
        if each * adapters <= at_once:
            return parts, each
    return rows, 1


def batches_by_adapter(openings: Openings, parts: int) -> list[Batch]:
    """Batches with equally many rows of each adapter where possible, longest rows first."""
    split = {
        name: split_by_length([row.length for row in rows], parts)
        for name, rows in openings.items()
        if rows
    }
    return [{name: each[part] for name, each in split.items()} for part in range(parts)]
