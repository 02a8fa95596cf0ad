"""The most promising stopped trials, as the definition finds them one by one."""

from collections.abc import Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st

import pretend
from perft.searching.second_chances import most_promising
from perft.trial import TrialResult


def trials(made: Sequence[tuple[int, float, bool]]) -> list[TrialResult]:
    return [
        pretend.trial(
            number,
            activated=activated,
            val_loss=loss,
            outcome="complete" if is_complete else "pruned",
        )
        for number, (activated, loss, is_complete) in enumerate(made)
    ]


def by_definition(results: Sequence[TrialResult], taken: Collection[int]) -> list[int]:
    def gap(trial: TrialResult) -> float:
        last = trial.reports[-1]
        return (
            last.val_loss
            / min(
                report.val_loss
                for other in results
                if other.size.activated <= trial.size.activated  # type: ignore[union-attr]
                for report in other.reports
                if report.step == last.step
            )
            - 1
        )

    stopped = [each for each in results if each.outcome == "pruned" and each.number not in taken]
    order = sorted(stopped, key=lambda each: (gap(each), -each.reports[-1].step, each.number))
    return [each.number for each in order]


SOME = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from((0.5, 0.75, 1.0, 2.0)), st.booleans()), max_size=30
)


@given(made=SOME, taken=st.sets(st.integers(0, 30), max_size=5))
def test_the_order_is_that_of_the_definition(
    made: list[tuple[int, float, bool]], taken: set[int]
) -> None:
    results = trials(made)
    assert [each.number for each in most_promising(results, taken)] == by_definition(results, taken)
