"""The exact McNemar test, against SciPy's binomial test, fractions, and what must not matter."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from perft.selection.paired import compare, mcnemar

discordant = st.integers(0, 3000)


def exactly(one: int, other: int) -> float:
    tails = 2 * sum(math.comb(one + other, k) for k in range(min(one, other) + 1))
    return float(min(Fraction(1), Fraction(tails, 2 ** (one + other))))


@pytest.mark.parametrize(("one", "other"), [(15, 1060), (0, 3000), (700, 701), (1, 0), (0, 0)])
def test_it_is_exact(one: int, other: int) -> None:
    assert mcnemar(one, other) == exactly(one, other)


@given(discordant, discordant)
def test_it_is_the_sign_test_of_the_discordant_examples(one: int, other: int) -> None:
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    if expected:
        assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9, abs=1e-290)
    else:  # SciPy takes for 0 what is near the smallest numbers
        assert mcnemar(one, other) == exactly(one, other)
    assert mcnemar(one, other) == mcnemar(other, one)


@pytest.mark.parametrize(("one", "other", "p"), [(0, 0, 1), (5, 0, 2 / 32), (6, 0, 2 / 64)])
def test_by_hand(one: int, other: int, p: float) -> None:
    assert mcnemar(one, other) == p


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_comparison_adds_up_and_turns_round(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = compare(first, second), compare(second, first)
    assert there.difference == pytest.approx((sum(first) - sum(second)) / len(pairs))
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert there.p_value == back.p_value
    opposite = {"better": "worse", "worse": "better", "noise": "noise"}
    assert back.verdict == opposite[there.verdict]
    assert (there.verdict == "noise") == (there.p_value >= 0.05)


def test_what_both_answer_alike_says_nothing() -> None:
    short = compare([True] * 6 + [False], [False] * 6 + [True])
    long = compare([True] * 6 + [False, *[True] * 900], [False] * 6 + [True, *[True] * 900])
    assert short.p_value == long.p_value
    assert short.difference > long.difference


def test_five_examples_are_noise_and_six_are_not() -> None:
    assert compare([True] * 5, [False] * 5).verdict == "noise"
    assert compare([True] * 6, [False] * 6).verdict == "better"
    assert compare([False] * 6, [True] * 6).verdict == "worse"
