"""From which states a batch goes on: decided by steps and reports alone."""

import pytest

from packing.simulator import config_of
from perft.packing.messages import Assignment
from perft.packing.states import RoundStart, Saved, starts


def wanted(trial: int, reached: int, target: int, *, due: bool = True) -> Assignment:
    return Assignment(
        trial=trial, config=config_of(8, trial), reached=reached, target=target, due=due
    )


def at(step: int, *reported: int, turn: int = 0, failure: str = "") -> Saved:
    return Saved(step, frozenset(reported), turn, failure=failure)


SEED = Saved(0, on_base=True)


def test_a_fresh_batch_begins_at_its_seeds():
    found = starts([wanted(0, 0, 2), wanted(1, 0, 2)], {0: [SEED], 1: [SEED]}, together=True)
    assert found == {0: RoundStart(SEED), 1: RoundStart(SEED)}


def test_what_all_have_reported_is_answered():
    known = {0: [at(8, 2, 4, 8)], 1: [at(4, 2, 4), at(2, 2, turn=1)]}
    found = starts([wanted(0, 2, 4), wanted(1, 2, 4)], known, together=True)
    assert found == {
        0: RoundStart(known[0][0], is_answer=True),
        1: RoundStart(known[1][0], is_answer=True),
    }


def test_a_trial_on_its_way_is_answered_by_its_step():
    (start,) = starts([wanted(0, 2, 3, due=False)], {0: [at(4, 4)]}, together=True).values()
    assert start.is_answer
    (start,) = starts([wanted(0, 2, 5, due=False)], {0: [at(4, 4)]}, together=True).values()
    assert not start.is_answer


def test_a_batch_of_which_part_was_written_goes_back_as_a_whole():
    known = {0: [at(4, 2, 4, turn=1), at(2, 2)], 1: [at(2, 2), at(1, turn=1)]}
    found = starts([wanted(0, 2, 4), wanted(1, 2, 4)], known, together=True)
    assert found == {0: RoundStart(known[0][1]), 1: RoundStart(known[1][0])}


def test_where_shapes_are_fixed_each_trial_is_for_itself():
    known = {0: [at(4, 2, 4, turn=1), at(2, 2)], 1: [at(2, 2)]}
    found = starts([wanted(0, 2, 4), wanted(1, 2, 4)], known, together=False)
    assert found == {0: RoundStart(known[0][0], is_answer=True), 1: RoundStart(known[1][0])}


def test_from_the_first_round_all_can_go_back_to_their_seeds():
    known = {0: [at(8, 2, 4, 8)], 1: [SEED]}
    found = starts([wanted(0, 0, 2), wanted(1, 0, 2)], known, together=True)
    assert found == {0: RoundStart(None), 1: RoundStart(SEED)}


def test_where_the_beginning_of_a_round_is_lost_no_more_is_trained_than_must_be():
    known = {0: [at(8, 2, 4, 8)], 1: [at(1), SEED], 2: [SEED]}
    batch = [wanted(0, 2, 4), wanted(1, 2, 4), wanted(2, 2, 4)]
    found = starts(batch, known, together=True)
    assert found == {
        0: RoundStart(known[0][0], is_answer=True),
        1: RoundStart(at(1)),
        2: RoundStart(SEED),
    }


def test_a_trial_that_failed_answers_from_the_round_it_failed_in():
    known = {0: [at(4, 2, 4), at(4, failure="the loss is nan")]}
    (before,) = starts([wanted(0, 2, 4)], known, together=True).values()
    assert before == RoundStart(known[0][0], is_answer=True)
    (then,) = starts([wanted(0, 4, 8)], known, together=True).values()
    assert then == RoundStart(known[0][1], is_answer=True)


@pytest.mark.parametrize("together", [True, False])
def test_a_failure_is_nothing_to_go_on_from(together: bool):
    known = {0: [at(2, failure="the loss is nan")], 1: [SEED]}
    batch = [wanted(0, 0, 2), wanted(1, 0, 2)]
    found = starts(batch, known, together=together)
    assert all(start.state is None or not start.state.failure for start in found.values())
