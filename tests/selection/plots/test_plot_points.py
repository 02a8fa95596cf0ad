"""Where trials, the base and the means are drawn: true to the numbers, and none upon another."""

import dataclasses
import math

import pytest

from perft.base_score import BaseScore
from perft.selection import wilson
from perft.selection.plots.points import base_line, means, places, points_of, pruned
from perft.trial import TrialResult
from pretend import BASE, SCORED, search_of_six, search_of_six_confirmed, trial


def unscored(result: TrialResult) -> TrialResult:
    reports = [dataclasses.replace(each, correct=0, scored=0) for each in result.reports]
    return dataclasses.replace(result, reports=tuple(reports))


def test_a_point_is_the_accuracy_within_its_interval() -> None:
    points = points_of([trial(1, correct=300, activated=4000)])
    low, high = wilson(300, SCORED)
    assert (points.x, points.y) == ([4000], [75.0])
    assert points.up == pytest.approx([100 * high - 75])
    assert points.down == pytest.approx([75 - 100 * low])
    losses = points_of([unscored(trial(1, val_loss=0.5))])
    assert (losses.y, losses.up, losses.down) == ([0.5], [0.0], [0.0])


def test_trials_of_one_size_lie_side_by_side_and_the_front_at_its_place() -> None:
    results = [
        *(trial(n, correct=100 + n, activated=1000) for n in range(5)),
        trial(5, correct=300, activated=1010),
        trial(6, correct=350, activated=90_000),
    ]
    found = places(results)
    assert (found[4], found[5], found[6]) == (1000, 1010, 90_000), "these are the front"
    assert len(set(found.values())) == len(results)
    beside = sorted(found[n] for n in range(4))
    assert beside[1] < 1000 < beside[2]
    middle = math.sqrt(1000 * 1010)
    assert max(beside) < middle, "a trial is nearer to another size than to its own"
    assert places([trial(0)]) == {0: 1000}
    assert places([]) == {}


def test_the_base_alone_is_a_line_with_its_interval() -> None:
    line = base_line(search_of_six(), BASE)
    low, high = wilson(40, SCORED)
    assert line
    assert (line.y, line.label) == (10.0, "base alone: 10.0% (7.4-13.3)")
    assert line.band == (100 * low, 100 * high)
    assert base_line([], BASE) is None
    assert base_line(search_of_six(), None) is None


def test_a_far_base_does_not_squeeze_the_points() -> None:
    results = [trial(0, correct=360), trial(1, correct=380, activated=2000)]
    low, high = (100 * wilson(count, SCORED)[end] for count, end in ((360, 0), (380, 1)))
    line = base_line(results, BASE)
    assert line
    assert line.y == pytest.approx(low - (high - low))
    assert (line.label, line.band) == ("base alone: 10.0% (7.4-13.3), below", None)
    far = base_line([unscored(each) for each in results], BaseScore(objective="sft", val_loss=9.0))
    assert far
    assert far.label == "base alone: loss 9.0000, above"


def test_of_pairs_the_base_is_at_one_half_by_definition() -> None:
    tie = BaseScore(objective="dpo", val_loss=0.6931, is_tie=True)
    line = base_line(search_of_six(), tie)
    assert line
    assert (line.y, line.band) == (50.0, None)


def test_a_pruned_trial_is_at_what_it_scored_or_on_the_axis() -> None:
    results = [*search_of_six()[:4], trial(4, correct=100, activated=9000, outcome="pruned")]
    (scored,) = pruned(results)
    assert (scored.x, scored.y) == (9000, 100 * 25 / SCORED)
    (plain,) = pruned([*results[:4], unscored(results[4])])
    assert plain.y is None
    (loss,) = pruned([unscored(each) for each in results])
    assert loss.y == 1.0
    failed = dataclasses.replace(results[4], reports=(), outcome="failed")
    assert pruned([*results[:4], failed]) == []


def test_means_of_other_seeds_have_their_intervals() -> None:
    found = means(search_of_six_confirmed())
    assert found.x == [1000, 4000, 40_000]
    assert found.y == pytest.approx([30.0, 75.5, 74.5])
    assert all(up > 0 and down > 0 for up, down in zip(found.up, found.down, strict=True))
    assert means(search_of_six()).x == []
