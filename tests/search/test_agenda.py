"""What a search proposes: draws, then second chances, then confirmations."""

from random import Random
from typing import Any

import pytest

from packing.simulator import RUNGS, Simulator, StandIn, first, reported
from perft.search.agenda import Agenda
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
