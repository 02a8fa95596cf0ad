"""What trainings with other seeds say: means, noise, and what is picked."""

import dataclasses
import io
import math
from collections.abc import Sequence
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import ttest_ind

from perft.selection import (
    Confirmed,
    complete,
    confirmed,
    front_table,
    gains,
    pareto_front,
    pick,
    picked_of,
    picks,
    remarks,
    to_frame,
)
from perft.selection.confirm import gain
from perft.selection.plots.front import front_png
from perft.selection.plots.interactive import front_figure
from perft.trial import Origin, TrialResult
from pretend import (
    SCORED,
    confirmations,
    search_of_six,
    search_of_six_confirmed,
    trial,
)


def of(*values: float, scored: int = 0) -> Confirmed:
    return Confirmed(trial=0, values=values, scored=scored)


def test_a_confirmation_is_no_candidate() -> None:
    alone, again = search_of_six(), search_of_six_confirmed()
    best_of_all = confirmations(1, 4_000, 399, first=15)
    assert pareto_front([*again, *best_of_all]) == pareto_front(alone)
    assert complete(again) == complete(alone)
    stray = confirmations(2, 8_000, 399, first=15)  # of a trial that is not on the front
    assert front_png([*alone, *stray], "x") == front_png(alone, "x")


def test_the_plots_show_the_means() -> None:
    results = search_of_six_confirmed()
    assert front_png(results, "x") != front_png(search_of_six(), "x")
    (trace,) = (each for each in front_figure(results).data if each.name.startswith("mean"))
    assert list(trace.x) == [1_000, 4_000, 40_000]
    assert list(trace.y) == pytest.approx([30.0, 75.5, 74.5])


def test_the_mean_leaves_out_the_score_that_was_chosen() -> None:
    found = confirmed(search_of_six_confirmed())
    assert list(found) == [0, 1, 3]
    assert found[3].mean == pytest.approx((290 + 294 + 310) / 3 / SCORED)
    assert found[3].spread == pytest.approx(stdev([290, 294, 310]) / SCORED)
    low, high = found[3].interval
    assert low < found[3].mean < high
    # At least that of the examples alone.
    assert high - low > 2 * 1.96 * math.sqrt(0.745 * 0.255 / SCORED) - 1e-3


losses = st.lists(st.floats(0.1, 9.0), min_size=2, max_size=6).filter(lambda x: np.ptp(x) > 1e-3)


@given(losses, losses)
def test_of_losses_the_gain_is_welchs_test(one: list[float], two: list[float]) -> None:
    found = gain(of(*one), of(*two))
    expected = ttest_ind(one, two, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.verdict == (
        "noise" if expected.pvalue >= 0.05 else "better" if found.difference > 0 else "worse"
    )


def test_examples_are_noise_too() -> None:
    """Three seeds that agree to the last example do not prove a gain of one example in 400."""
    one, two = (of(share, share, share, scored=SCORED) for share in (0.9025, 0.9))
    assert gain(one, two).verdict == "noise"
    assert gain(of(0.95, 0.95, scored=SCORED), of(0.8, 0.8, scored=SCORED)).verdict == "better"
    assert gain(of(1.0, 1.0, scored=SCORED), of(0.0, 0.0, scored=SCORED)).p_value < 1e-9
    assert gain(of(0.9, scored=SCORED), two) is None, "one training has no spread"


def test_neighbours_on_the_front_are_compared() -> None:
    found = gains(search_of_six_confirmed())
    assert {number: each.verdict for number, each in found.items()} == {1: "better", 3: "noise"}
    assert gains(search_of_six()) == {}


def test_means_decide_once_all_of_the_front_is_confirmed() -> None:
    results = search_of_six_confirmed()
    assert picks(search_of_six()) == {0: "", 1: "knee", 3: "best"}
    assert picks(results) == {0: "", 1: "best knee", 3: ""}
    assert pick(results, "best").number == 1
    assert picks(results[:-3]) == picks(search_of_six()), "one of the front has no mean yet"
    (remark,) = remarks(results)
    assert "trial 3 is no better than the smaller trial 1" in remark


def test_a_trial_that_fails_with_every_other_seed_is_not_picked() -> None:
    results = search_of_six_confirmed()
    failed = [
        dataclasses.replace(each, outcome="failed") if each.origin == CONFIRM_1 else each
        for each in results
    ]
    assert picked_of(failed).best.number == 3
    assert confirmed(failed)[1].failed == 3
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(front_table(failed))
    assert "(0 of 3)" in console.export_text()


CONFIRM_1 = Origin(kind="confirm", trial=1)


def test_confirmations_of_what_is_no_longer_on_the_front_are_left_out() -> None:
    better = trial(20, correct=390, activated=900)
    results = [*search_of_six_confirmed(), better]
    assert confirmed(results) == {}
    assert picks(results) == {20: "best knee"}


def test_losses_are_shown_as_losses() -> None:
    results = [unscored(each) for each in search_of_six_confirmed()]
    again = confirmed(results)
    assert again
    frame = to_frame(results)
    number = next(iter(again))
    row = frame.set_index("number").loc[number]
    assert row["confirmed_mean"] == pytest.approx(1.0)
    assert row["confirmed_low"] <= row["confirmed_mean"] <= row["confirmed_high"]


def unscored(result: TrialResult) -> TrialResult:
    reports = [dataclasses.replace(each, correct=0, scored=0) for each in result.reports]
    return dataclasses.replace(result, reports=tuple(reports))


def test_tables_hold_means_and_origins() -> None:
    results = search_of_six_confirmed()
    frame = to_frame(results).set_index("number")
    assert list(frame.loc[[0, 1, 3], "confirmed_trainings"]) == [3, 3, 3]
    assert frame["confirmed_mean"].notna().sum() == 3
    assert set(frame.loc[6:, "origin"]) == {"confirm"}
    assert list(frame.loc[[6, 9, 12], "origin_trial"]) == [0, 1, 3]
    assert "origin" not in to_frame(search_of_six())
    assert text_of(results).count("noise") == 2, "a cell and the caption"


def text_of(results: Sequence[TrialResult]) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(front_table(results))
    return console.export_text()
