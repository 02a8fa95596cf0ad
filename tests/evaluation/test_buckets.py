"""Buckets are few, and hold every row once within the memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perft.evaluation import Opening
from perft.evaluation.buckets import (
    batches_by_adapter,
    plan_batches,
    round_up_columns,
    round_up_rows,
)

COUNTS = st.integers(1, 2000)


@given(COUNTS)
def test_sizes_are_few_and_their_halves_are_among_them(rows: int) -> None:
    assert rows <= round_up_rows(rows) <= 1.25 * rows
    assert round_up_rows(round_up_rows(rows)) == round_up_rows(rows)
    if round_up_rows(rows) % 2 == 0:
        assert round_up_rows(round_up_rows(rows) // 2) == round_up_rows(rows) // 2


def test_there_are_four_sizes_to_an_octave() -> None:
    assert len({round_up_rows(rows) for rows in range(64, 128)}) == 5  # both ends
    assert [round_up_columns(columns) for columns in (1, 64, 65)] == [64, 64, 128]


@given(rows=COUNTS, adapters=st.integers(1, 16), at_once=COUNTS)
def test_parts_are_the_fewest_that_fit(rows: int, adapters: int, at_once: int) -> None:
    parts, each = plan_batches(rows, adapters, at_once)
    assert parts * each >= rows
    assert each * adapters <= at_once or each == 1
    if parts > 1:
        assert round_up_rows(-(-rows // (parts - 1))) * adapters > at_once


@given(
    rows=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any),
    parts=st.integers(1, 8),
)
def test_every_row_is_in_one_batch_and_no_adapter_has_more_than_its_part(
    rows: list[int], parts: int
) -> None:
    openings = {
        str(n): [Opening(np.arange(1 + i * 7 % 5, dtype=np.int32), 3) for i in range(count)]
        for n, count in enumerate(rows)
    }
    batches = batches_by_adapter(openings, parts)
    assert len(batches) == parts
    for name, each in openings.items():
        found = [batch.get(name, []) for batch in batches]
        assert sorted(i for indices in found for i in indices) == list(range(len(each)))
        assert max(map(len, found)) == -(-len(each) // parts)
        lengths = [each[i].length for indices in found for i in indices]
        assert lengths == sorted(lengths, reverse=True)
