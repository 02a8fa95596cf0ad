"""Estimates are those of their definition, and the choice of a rate flatters none."""

import dataclasses
from statistics import fmean

import pytest

from perft.studies.answers import Answers, Cell
from studies.planted import DESIGN, SCORED, trained


def test_a_cell_has_the_values_of_its_seeds() -> None:
    results = trained(lambda width, rate: width / 20)
    answers = Answers.of(results)
    assert (answers.seeds, answers.scored) == ((0, 1, 2), SCORED)
    assert answers.rates == {0.5: 0.005, 1.0: 0.01, 2.0: 0.02}
    wanted = [
        result.last.accuracy
        for result in results
        if result.params["adapter"] == "s r8" and result.params["rate"] == 2.0
    ]
    assert answers.at(Cell("s r8", 2.0)).values == tuple(wanted)


def test_each_seed_is_judged_at_the_rate_that_the_others_choose() -> None:
    answers = Answers.of(trained(lambda width, rate: 0.5, spread=0.1))
    wanted = []
    for seed in answers.seeds:
        others = [each for each in answers.seeds if each != seed]
        mean = {
            rate: fmean(answers.values[Cell("s r4", rate)][each] for each in others)
            for rate in DESIGN.rates
        }
        best = max(mean, key=mean.get)
        wanted.append(answers.values[Cell("s r4", best)][seed])
    assert answers.tuned(["s r4"]).found.values == tuple(wanted)


def test_choosing_among_many_equal_cells_flatters_nothing() -> None:
    """The best of twelve cells of pure noise looks better than it is; its estimate does not."""
    plain, tuned = [], []
    for draw in range(200):
        answers = Answers.of(trained(lambda width, rate: 0.5, spread=0.05, draw=draw))
        plain.append(max(answers.at(cell).mean for cell in answers.values))
        tuned.append(answers.tuned(list(DESIGN.adapters)).found.mean)
    assert fmean(plain) > 0.53
    assert fmean(tuned) == pytest.approx(0.5, abs=0.006)


def test_a_seed_that_is_not_complete_and_a_cell_that_failed_are_left_out() -> None:
    results = trained(lambda width, rate: 0.5)
    cut = Answers.of(results[:-1])
    assert cut.seeds == (0, 1)
    results[5] = dataclasses.replace(results[5], outcome="failed")
    answers = Answers.of(results)
    (failed,) = answers.failed
    assert failed == Cell(results[5].params["adapter"], results[5].params["rate"])
    assert answers.at(failed) is None
    assert answers.seeds == (0, 1, 2)
    assert failed not in {answers.tuned([failed.adapter]).chosen}


def test_losses_are_judged_by_how_low_they_are() -> None:
    results = [
        dataclasses.replace(
            each,
            reports=(
                dataclasses.replace(
                    each.reports[0], correct=0, scored=0, val_loss=each.config.adapter.rank / 10
                ),
            ),
        )
        for each in trained(lambda width, rate: 0.5)
    ]
    answers = Answers.of(results)
    assert answers.scored == 0
    assert answers.tuned(list(DESIGN.adapters)).chosen.adapter == "s r2"
    assert answers.tuned(["s r8"]).found.mean == pytest.approx(-0.8)
