"""What stopped trials would have reached, from those that went on."""

import math

import pytest

from perft.selection.full_length import FullLength
from perft.trial import Report


def report(step, loss, correct=0, scored=0):
    return Report(
        step=step,
        train_loss=loss,
        val_loss=loss,
        correct=correct,
        scored=scored,
        lr=1e-3,
        tokens_per_second=1.0,
    )


def curve(start, correct=None):
    """A loss that halves from step 50 to 100, scored at the end if `correct` is given."""
    end = report(100, start / 2) if correct is None else report(100, start / 2, correct, 100)
    return [report(50, start), end]


def test_losses_fall_by_the_median_factor():
    unusual = [report(50, 0.5), report(100, 5.0)]
    curves = [curve(1.0), curve(0.8), curve(0.6), unusual]
    assert FullLength(curves, 100).objective(report(50, 0.7)) == pytest.approx(-0.35)


def test_the_accuracy_follows_from_the_predicted_loss():
    curves = [curve(2 * math.e**-power, 10 * power) for power in range(5)]
    assert FullLength(curves, 100).objective(report(50, 2 * math.e**-3.5)) == pytest.approx(0.35)


def test_the_accuracy_stays_within_its_bounds():
    predicted = FullLength([curve(2.0, 5), curve(0.02, 95)], 100)
    assert predicted.objective(report(50, 1e4)) == 0.0
    assert predicted.objective(report(50, 0.0)) == 1.0


def test_a_stopped_trial_is_no_evidence_of_what_follows():
    alone = FullLength([curve(1.0)], 100)
    among = FullLength([curve(1.0), [report(50, 9.0)], []], 100)
    assert among.objective(report(50, 0.7)) == alone.objective(report(50, 0.7))


def test_before_any_trial_has_ended_the_loss_counts_as_it_is():
    assert FullLength([[report(50, 0.7)]], 100).objective(report(50, 0.7)) == pytest.approx(-0.7)


def test_the_guess_is_surer_the_more_alike_the_trials_are_that_went_on():
    def spread(*falls):
        curves = [[report(50, 1.0), report(100, math.exp(-fall))] for fall in falls]
        return FullLength(curves, 100).log_loss(report(50, 1.0))[1]

    assert spread(0.5, 0.5, 0.5, 0.5) < spread(0.5, 0.5) < spread()
    assert spread(0.1, 0.4, 0.6, 0.9) > spread(0.5, 0.5, 0.5, 0.5)


def test_a_trial_at_full_length_counts_as_it_is():
    known = FullLength([curve(1.0, 40), curve(0.5, 70)], 100)
    assert known.objective(report(100, 9.0, 12, 100)) == 0.12
    assert known.log_loss(report(100, 1.0)) == (0.0, 0.0)
