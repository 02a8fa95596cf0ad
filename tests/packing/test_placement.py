"""Groups get equal parts of a round, and trials stay where they are unless that makes it so."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from perft.packing.placement import spread

GROUPS = st.integers(1, 5)
KINDS = st.lists(st.integers(0, 2), min_size=1, max_size=20)  # of trials 0, 1, ...


def by_kind(kinds: list[int]) -> list[list[int]]:
    return [[trial for trial, its in enumerate(kinds) if its == kind] for kind in range(3)]


@given(kinds=KINDS, groups=GROUPS, homes=st.dictionaries(st.integers(0, 19), st.integers(0, 4)))
def test_every_group_gets_as_many_of_each_kind(
    kinds: list[int], groups: int, homes: dict[int, int]
) -> None:
    before = {trial: home for trial, home in homes.items() if home < groups and trial < len(kinds)}
    found = spread(by_kind(kinds), groups, before)
    assert found.keys() == set(range(len(kinds)))
    for most in range(3):  # with all that are dearer: these are what a group waits for
        counts = Counter(found[trial] for trial, kind in enumerate(kinds) if kind <= most)
        each = [counts[group] for group in range(groups)]
        assert max(each) - min(each) <= 1


@given(kinds=KINDS, groups=GROUPS)
def test_nobody_moves_twice(kinds: list[int], groups: int) -> None:
    found = spread(by_kind(kinds), groups, {})
    assert spread(by_kind(kinds), groups, found) == found


def test_a_new_trial_takes_the_place_of_one_that_ended() -> None:
    assert spread([[], [0, 2, 3, 4], []], 2, {0: 0, 2: 0, 3: 1}) == {0: 0, 2: 0, 3: 1, 4: 1}


def test_one_of_two_that_are_evaluated_moves() -> None:
    assert spread([[], [0, 2], [1, 3]], 2, {0: 0, 2: 0, 1: 1, 3: 1}) == {0: 0, 2: 1, 1: 1, 3: 0}
