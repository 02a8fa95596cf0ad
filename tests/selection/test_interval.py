"""The interval of a share against its published formula."""

import math

from hypothesis import given
from hypothesis import strategies as st

from perft.selection import wilson


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_is_wilsons_formula(counts: tuple[int, int]):
    correct, scored = counts
    share, z = correct / scored, 1.959963984540054
    middle = (share + z * z / (2 * scored)) / (1 + z * z / scored)
    half = (
        z
        / (1 + z * z / scored)
        * math.sqrt(share * (1 - share) / scored + z * z / (4 * scored * scored))
    )
    low, high = wilson(correct, scored)
    assert math.isclose(low, middle - half, abs_tol=1e-9)
    assert math.isclose(high, middle + half, abs_tol=1e-9)


def test_nothing_scored_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
