"""What a search proposes: draws, then second chances, then confirmations."""

from random import Random
from typing import Any

import pytest

from packing.simulator import RUNGS, Simulator, StandIn, first, reported
from perft.searching.agenda import Agenda
from perft.trial import Origin

FULL = RUNGS[-1]


def agenda(**settings: Any) -> Agenda:
    return Agenda(StandIn(FULL), **{"num_trials": 3, "max_steps": FULL, **settings})


def test_the_draws_come_first_and_then_it_is_over() -> None:
    plan = agenda()
    assert [plan.next().number for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    assert plan.next() is None
    assert plan.num_trials == 3
    for number in range(3):
        assert not plan.is_over
        plan.ended(number, "complete", reported(FULL))
    assert plan.is_over


def test_the_most_promising_stopped_trial_is_continued_once_draws_are_used_up() -> None:
    plan = agenda(second_chances=2)
    for _ in range(3):
        plan.next()
    plan.ended(0, "pruned", reported(10, 2.0))
    plan.ended(1, "pruned", reported(10, 1.5))
    assert plan.num_trials == 5
    found = plan.next()
    assert found is not None
    assert found.origin == Origin(kind="continue", trial=1, step=10)
    assert plan.num_trials == 5
    plan.ended(2, "complete", reported(FULL, 1.0))
    again = plan.next()
    assert again is not None
    assert again.origin == Origin(kind="continue", trial=0, step=10)
    assert plan.next() is None


def test_no_trial_is_continued_before_all_are_drawn() -> None:
    plan = agenda(second_chances=1)
    plan.next()
    plan.ended(0, "pruned", reported(10, 2.0))
    found = plan.next()
    assert found is not None
    assert found.origin is None


def test_the_front_is_confirmed_when_all_have_ended() -> None:
    plan = agenda(num_trials=2, confirmations=2)
    plan.next()
    plan.next()
    plan.ended(0, "complete", reported(FULL, 1.0))
    assert plan.next() is None
    plan.ended(1, "failed")
    assert plan.num_trials == 4
    found = [plan.next(), plan.next()]
    assert [each.origin for each in found if each] == [Origin(kind="confirm", trial=0)] * 2
    seeds = {each.config.training.seed for each in found if each}
    assert len(seeds | {plan._trials[0].config.training.seed}) == 3
    for each in found:
        assert each is not None
        plan.ended(each.number, "complete", reported(FULL))
    assert plan.is_over


def test_what_is_added_comes_next() -> None:
    plan = agenda()
    drawn = plan.next()
    assert drawn is not None
    plan.add(drawn.config, Origin(kind="add"))
    assert plan.num_trials == 4
    added = plan.next()
    assert added is not None
    assert added.origin == Origin(kind="add")
    assert added.config == drawn.config


def test_a_closed_agenda_proposes_nothing() -> None:
    plan = agenda(second_chances=1, confirmations=1)
    plan.next()
    plan.close()
    assert plan.next() is None
    assert plan.num_trials == 1
    plan.ended(0, "pruned", reported(10))
    assert plan.is_over


@pytest.mark.parametrize("shape", [(1, 4), (2, 2), (2, 1)])
def test_second_chances_and_confirmations_do_not_depend_on_timing(shape: tuple[int, int]) -> None:
    """Whatever dies and whenever: the same trials, in the same order, with the same reports."""

    def search(choose: Any, shape: tuple[int, int] = shape, **trouble: int) -> list[Any]:
        found = Simulator(*shape, 12, choose, second_chances=3, confirmations=2, **trouble).run()
        kinds = [trial.origin.kind for trial in found.trials.values() if trial.origin]
        assert kinds.count("continue") == 3
        assert kinds.count("confirm") >= 2
        return found.log

    calm = search(first)
    for seed in range(8):
        assert search(Random(seed).randrange, kills=3, restarts=3) == calm


def ended(plan: Agenda, number: int, step: int) -> None:
    plan.ended(number, "complete" if step == FULL else "pruned", reported(step, 1.0 + number))


def test_a_trial_is_proposed_only_if_its_full_length_has_room() -> None:
    plan = agenda(num_trials=100, max_steps_total=2 * FULL + 10)
    assert plan.num_trials == 2
    assert plan.to_come == 100
    assert [plan.next().number for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
    assert plan.next() is None
    assert not plan.is_over
    ended(plan, 0, 10)
    assert plan.num_trials == 3, "30 steps are free again, beside the 10"
    assert plan.next() is not None
    ended(plan, 1, FULL)
    ended(plan, 2, FULL)
    assert plan.is_over
    plan.bound(3 * FULL + 10)
    assert not plan.is_over


def test_what_is_too_little_for_a_draw_is_for_a_second_chance() -> None:
    plan = agenda(num_trials=100, second_chances=9, max_steps_total=FULL + 35)
    plan.next()
    ended(plan, 0, 10)
    plan.next()
    assert plan.num_trials == 2, "trial 1 may still make room for another draw"
    ended(plan, 1, 20)
    assert plan.num_trials == 3
    found = plan.next()
    assert found is not None
    assert found.origin is None
    ended(plan, 2, 20)  # 25 steps are left
    chance = plan.next()
    assert chance is not None
    assert chance.origin == Origin(kind="continue", trial=1, step=20)
    ended(plan, chance.number, FULL)
    assert plan.is_over


def test_an_agenda_that_is_opened_again_goes_on() -> None:
    plan = agenda(confirmations=1)
    plan.next()
    plan.close()
    assert (plan.num_trials, plan.to_come) == (1, 0)
    ended(plan, 0, FULL)
    assert plan.is_over
    plan.draw(1)
    plan.open()
    confirmation = plan.next()
    assert confirmation is not None
    assert confirmation.origin == Origin(kind="confirm", trial=0)
    plan.draw(2)
    assert plan.num_trials == 3


def test_each_trial_of_the_front_is_confirmed_once() -> None:
    plan = agenda(num_trials=1, confirmations=2)
    plan.next()
    ended(plan, 0, FULL)
    for number in (1, 2):
        assert plan.next() is not None
        ended(plan, number, FULL)
    assert plan.is_over
    plan.draw(2)
    drawn = plan.next()
    assert drawn is not None
    plan.ended(3, "complete", reported(FULL, 0.5))
    confirmed = [plan.next(), plan.next()]
    assert [each.origin for each in confirmed if each] == [Origin(kind="confirm", trial=3)] * 2


def test_it_knows_from_which_step_a_clone_can_start() -> None:
    plan = agenda()
    plan.next()
    assert plan.is_running(0)
    assert plan.last_step(0) == 0
    plan.reported(0, reported(10))
    assert plan.last_step(0) == 10
    plan.ended(0, "pruned", reported(20))
    assert not plan.is_running(0)
    assert plan.last_step(0) == 20
    assert plan.last_step(7) is None
    plan.next()
    plan.ended(1, "failed")
    assert plan.last_step(1) is None
