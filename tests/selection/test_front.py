"""The Pareto front against a brute-force one, and what a user can pick from it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.errors import ConfigError, SearchError
from perft.selection import ActivatedLimit, best, knee, pareto_front, pick
from perft.trial import TrialResult
from pretend import BASE_ACTIVATED, search_of_six, trial

# Few values, so that ties are frequent.
trials = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(1, 5),
        st.sampled_from((0.5, 1.0)),
        st.sampled_from(("complete", "complete", "pruned", "failed")),
    ),
    max_size=12,
).map(
    lambda rows: [
        trial(number, correct=40 * correct, activated=activated, val_loss=loss, outcome=outcome)
        for number, (correct, activated, loss, outcome) in enumerate(rows)
    ]
)


def goodness(result: TrialResult) -> tuple[float, int]:
    assert result.last is not None
    assert result.size is not None
    return result.last.accuracy, -result.size.activated


def tie_break(result: TrialResult) -> tuple[float, int]:
    assert result.last is not None
    return result.last.val_loss, result.number


def brute_force(results: list[TrialResult]) -> list[int]:
    """Definition by definition, in quadratic time."""
    complete = [result for result in results if result.outcome == "complete"]
    kept = []
    for one in complete:
        beaten = any(
            goodness(other) != goodness(one)
            and all(a >= b for a, b in zip(goodness(other), goodness(one), strict=True))
            for other in complete
        )
        twins = [other for other in complete if goodness(other) == goodness(one)]
        if not beaten and one is min(twins, key=tie_break):
            kept.append(one)
    return [result.number for result in sorted(kept, key=lambda kept: kept.size.activated)]


@given(trials)
def test_front_equals_brute_force(results: list[TrialResult]):
    assert [result.number for result in pareto_front(results)] == brute_force(results)


@given(trials, st.randoms(use_true_random=False))
def test_front_does_not_depend_on_the_order(results: list[TrialResult], random):
    shuffled = list(results)
    random.shuffle(shuffled)
    assert pareto_front(shuffled) == pareto_front(results)


@given(trials)
def test_best_and_knee_are_on_the_front(results: list[TrialResult]):
    front = pareto_front(results)
    if front:
        accuracy = max(goodness(result)[0] for result in results if result.outcome == "complete")
        assert goodness(best(front))[0] == accuracy
        assert knee(front) in front


def test_front_of_a_search():
    assert [result.number for result in pareto_front(search_of_six())] == [0, 1, 3]


def test_knee_is_where_more_parameters_begin_to_pay_less():
    assert knee(pareto_front(search_of_six())).number == 1


def test_a_front_without_a_bulge_gives_its_best():
    hollow = [
        trial(0, correct=10, activated=10),
        trial(1, correct=20, activated=5000),
        trial(2, correct=390, activated=10_000),
    ]
    assert knee(pareto_front(hollow)).number == 2
    assert knee(pareto_front(hollow[:2])).number == 1


@pytest.mark.parametrize(
    ("how", "limit", "number"),
    [
        ("best", None, 3),
        ("knee", None, 1),
        ("2", None, 2),
        (f"{1:032x}", None, 1),
        ("best", "0.2%", 1),
        ("best", "8,000", 1),
        ("best", "1000", 0),
        ("0", "0.05%", 0),
    ],
)
def test_pick(how: str, limit: str | None, number: int):
    parsed = ActivatedLimit.parse(limit) if limit else None
    assert pick(search_of_six(), how, parsed).number == number


def test_pick_takes_the_start_of_a_run_id():
    results = [
        dataclasses.replace(result, run_id=f"{result.number}abcdef0{result.run_id}"[:32])
        for result in search_of_six()
    ]
    assert pick(results, "3abcdef0").number == 3
    with pytest.raises(SearchError, match="unknown trial or run id '3abc'"):
        pick(results, "3abc")


@pytest.mark.parametrize(
    ("how", "limit", "message"),
    [
        ("6", None, "unknown trial or run id '6'.*known: 0, 0000.*best, knee"),
        ("bset", None, "did you mean 'best'"),
        ("4", None, "trial 4 is pruned.*one of the trials 0, 1, 2, 3"),
        ("best", "0.01%", "at most 0.01%: the smallest.*trial 0, activates 1,000 .*0.05%"),
        ("3", "0.1%", "at most 0.1%: trial 3, activates 40,000"),
    ],
)
def test_pick_says_what_there_is(how: str, limit: str | None, message: str):
    parsed = ActivatedLimit.parse(limit) if limit else None
    with pytest.raises(SearchError, match=message):
        pick(search_of_six(), how, parsed)


def test_pick_needs_a_full_length_trial():
    with pytest.raises(SearchError, match=r"2 ended: 1 pruned, 1 failed"):
        pick(search_of_six()[4:])


@pytest.mark.parametrize("text", ["", "much", "0%", "-3", "nan", "inf%", "1%%"])
def test_a_limit_that_is_none_is_refused(text: str):
    with pytest.raises(ConfigError, match="activated parameters"):
        ActivatedLimit.parse(text)


def test_limits_include_their_value():
    size = trial(0, activated=BASE_ACTIVATED // 1000).size
    assert size is not None
    assert ActivatedLimit.parse("0.1%").allows(size)
    assert ActivatedLimit.parse(str(size.activated)).allows(size)
    assert not ActivatedLimit.parse("0.0999%").allows(size)
    assert not ActivatedLimit.parse(str(size.activated - 1)).allows(size)
