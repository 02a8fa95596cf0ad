"""Rows become one padded batch, and every token that is predicted is predicted once."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from perft.forward import TokenizedExample, target_count
from perft.forward.batch import collate

PAD = 0
ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 99), min_size=1, max_size=9).map(
            lambda ids: np.array(ids, dtype=np.int32)
        ),
        st.integers(0, 10),
    ).map(lambda row: (row[0], min(row[1], len(row[0])))),
    min_size=1,
    max_size=6,
)


def naive_targets(rows: list[TokenizedExample]) -> list[list[tuple[int, int, int]]]:
    """For each row, (row, position, next token) of everything that carries loss."""
    return [
        [(b, t - 1, int(ids[t])) for t in range(len(ids)) if t >= 1 and t >= free]
        for b, (ids, free) in enumerate(rows)
    ]


@given(rows=ROWS)
def test_collated_rows_predict_what_a_plain_loop_would(rows: list[TokenizedExample]) -> None:
    batch = collate([rows], PAD, torch.device("cpu"))
    length = max(len(ids) for ids, _ in rows)
    assert batch.ids_BS.shape == batch.mask_BS.shape == (len(rows), length)
    for b, (ids, _) in enumerate(rows):
        assert batch.ids_BS[b].tolist() == ids.tolist() + [PAD] * (length - len(ids))
        assert batch.mask_BS[b].tolist() == [True] * len(ids) + [False] * (length - len(ids))
    expected = naive_targets(rows)
    flat = [target for targets in expected for target in targets]
    assert batch.position_N.tolist() == [b * length + t for b, t, _ in flat]
    assert batch.label_N.tolist() == [label for _, _, label in flat]
    assert batch.is_real_N.all()
    assert batch.targets == (tuple(len(targets) for targets in expected),)
    assert batch.targets == (tuple(target_count(row) for row in rows),)


def test_a_row_of_one_token_predicts_nothing() -> None:
    assert target_count((np.array([5], dtype=np.int32), 0)) == 0
    assert target_count((np.array([5, 6], dtype=np.int32), 0)) == 1
    assert target_count((np.array([5, 6], dtype=np.int32), 2)) == 0
