"""Which shapes decoding in fixed memory has: few, since each is captured anew."""

from perft.evaluation.decoding import Batch, Openings
from perft.evaluation.loss import split_by_length

COLUMNS = 64
"""Columns, and those of passes over prompts, come in multiples of this."""


def few_columns(columns: int) -> int:
    """The next number of columns, not below `columns`, that a bucket has."""
    return -(-columns // COLUMNS) * COLUMNS


def few_rows(rows: int) -> int:
    """The next number of rows, not below `rows`, that an adapter has in a bucket.

    There are four sizes between a power of two and the next, and half of one is one again.
    """
    step = 1 << max(0, rows.bit_length() - 3)
    return -(-rows // step) * step


def parts_of(rows: int, adapters: int, at_once: int) -> tuple[int, int]:
    """In how many batches the rows of every adapter go, and a bucket's rows of each adapter.

    Args:
        rows: of the adapter that has most.
        adapters: how many there are.
        at_once: rows of all adapters that fit the memory.
    """
    for parts in range(1, rows):
        each = few_rows(-(-rows // parts))
        if each * adapters <= at_once:
            return parts, each
    return rows, 1


def batches_by_adapter(openings: Openings, parts: int) -> list[Batch]:
    """Of every adapter the longest rows first; as many of each in every batch where possible."""
    split = {
        name: split_by_length([row.length for row in rows], parts)
        for name, rows in openings.items()
        if rows
    }
    return [{name: each[part] for name, each in split.items()} for part in range(parts)]
