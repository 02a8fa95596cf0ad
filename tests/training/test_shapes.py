"""Which trials share a micro-batch of a fixed shape, and what the shape is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.models.head import predictions_at_once
from perft.ranks import Ranks
from perft.tasks.tokenize import TokenizedSplit
from perft.training.shapes import FixedShapes, RowCapacity, TrialShape, row_capacity

CAPACITIES = st.builds(
    RowCapacity, length=st.sampled_from([16, 32, 96]), predictions=st.integers(0, 16)
)
KINDS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.builds(
        lambda rows, capacity, pairs, referenced: TrialShape(
            rows * (1 + pairs), capacity, pairs, referenced
        ),
        st.integers(1, 9),
        CAPACITIES,
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(
    kinds=KINDS,
    slots=st.integers(1, 8),
    tokens=st.integers(1, 2000),
    vocabulary=st.sampled_from([50, 1 << 20, 1 << 25]),
)
def test_only_trials_of_a_kind_share_a_microbatch_and_each_has_one(
    kinds: dict[str, TrialShape], slots: int, tokens: int, vocabulary: int
) -> None:
    fixed = FixedShapes(slots, tokens, vocabulary, Ranks())
    apart = {name: name[0] for name in kinds if name[0] in "ab"}
    found = fixed.microbatches(kinds, apart)
    assert sorted(name for _, names in found for name in names) == sorted(kinds)
    for shape, names in found:
        assert len({(kinds[name], apart.get(name)) for name in names}) == 1
        assert len(names) <= shape.adapters <= slots
        assert shape.rows * shape.length <= tokens or shape.adapters == 1
        at_once = predictions_at_once(vocabulary)
        assert shape.whole >= shape.adapters * shape.predictions
        assert shape.whole <= at_once or shape.whole % at_once == 0


@given(kinds=KINDS, slots=st.integers(1, 8), tokens=st.integers(1, 2000))
def test_the_shape_of_a_trials_microbatch_does_not_depend_on_the_others(
    kinds: dict[str, TrialShape], slots: int, tokens: int
) -> None:
    fixed = FixedShapes(slots, tokens, 50, Ranks())
    for shape, names in fixed.microbatches(kinds):
        for name in names:
            assert fixed.microbatches({name: kinds[name]}) == [(shape, [name])]


def test_room_is_for_the_longest_row_and_the_one_with_most_predictions() -> None:
    rows = TokenizedSplit(
        ids=np.zeros(60, dtype=np.int32),
        starts=np.array([0, 17, 37]),
        lengths=np.array([17, 20, 1], dtype=np.int32),
        prompt_lengths=np.array([2, 18, 0], dtype=np.int32),
        truncated=0,
    )
    assert row_capacity(rows) == RowCapacity(length=32, predictions=15)


@pytest.mark.parametrize(("slots", "tokens", "trials"), [(8, 16_384, 4), (2, 16_384, 2), (8, 1, 1)])
def test_a_microbatch_has_room_for_as_many_trials_as_its_tokens_and_the_slots_allow(
    slots: int, tokens: int, trials: int
) -> None:
    shape = FixedShapes(slots, tokens, 50_000, Ranks()).of(TrialShape(16, RowCapacity(256, 30)))
    assert (shape.adapters, shape.rows, shape.length) == (trials, 16 * trials, 256)
