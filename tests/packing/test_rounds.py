"""A search follows from its seed: not from timing, groups, or workers that die."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packing.simulator import RUNGS, Simulator, config_of, reported
from perft.packing.messages import Failed, NotDue
from perft.packing.rounds import MAX_CRASHES_ALONE, MAX_CRASHES_TOGETHER, Rounds
from perft.trial import Origin

SHAPES = st.sampled_from([(1, 1), (1, 4), (1, 6), (2, 2), (2, 3), (3, 1), (3, 2)])
TRIALS = st.integers(1, 12)
TIMING = st.randoms(use_true_random=False)


CONFIG = config_of(RUNGS[-1])


def started(groups: int, slots: int, trials: int) -> Rounds:
    """Rounds in which every trial has asked for its first report."""
    rounds = Rounds(groups, slots, trials, RUNGS)
    for trial in range(min(trials, groups * slots)):
        rounds.request(trial, config_of(RUNGS[-1], trial), 0)
    return rounds


def batch(rounds: Rounds, group: int = 0) -> list[int]:
    return [assignment.trial for assignment in rounds.work(group)]


def finish(rounds: Rounds, step: int, group: int = 0) -> None:
    rounds.finish(group, {trial: reported(step) for trial in batch(rounds, group)})


@settings(max_examples=50)
@given(shape=SHAPES, trials=TRIALS, timing=TIMING)
def test_decisions_do_not_depend_on_timing(
    shape: tuple[int, int], trials: int, timing: Random
) -> None:
    calm = Simulator(*shape, trials).run()
    hasty = Simulator(*shape, trials, timing.randrange, kills=3, restarts=3).run()
    assert hasty.log == calm.log
    assert hasty.packs == calm.packs


@settings(max_examples=40)
@given(shape=SHAPES, trials=TRIALS, timing=TIMING)
def test_a_worker_that_dies_while_it_waits_takes_no_batch_with_it(
    shape: tuple[int, int], trials: int, timing: Random
) -> None:
    calm = Simulator(*shape, trials).run()
    hasty = Simulator(*shape, trials, timing.randrange, kills=1, idle_kills=3).run()
    assert hasty.log == calm.log


@settings(max_examples=50)
@given(shape=SHAPES, trials=TRIALS, timing=TIMING)
def test_decisions_and_packs_are_the_same_when_all_groups_but_one_are_lost(
    shape: tuple[int, int], trials: int, timing: Random
) -> None:
    calm = Simulator(*shape, trials).run()
    search = Simulator(*shape, trials, timing.randrange, leaving=shape[0] - 1).run()
    assert search.log == calm.log
    assert search.packs <= calm.packs | {(each,) for pack in calm.packs for each in pack}


@settings(max_examples=50)
@given(trials=TRIALS, timing=TIMING, slots=st.sampled_from([(1, 6), (2, 3), (3, 2)]))
def test_decisions_do_not_depend_on_the_number_of_groups(
    trials: int, timing: Random, slots: tuple[int, int]
) -> None:
    assert (
        Simulator(*slots, trials, timing.randrange).run().log == Simulator(1, 6, trials).run().log
    )


@settings(max_examples=50)
@given(
    shape=SHAPES,
    trials=TRIALS,
    timing=TIMING,
    failing=st.dictionaries(st.integers(0, 11), st.sampled_from((5, *RUNGS, 30)), max_size=4),
    crashing=st.frozensets(st.integers(0, 11), max_size=3),
)
def test_trials_that_fail_or_crash_their_worker_fail_alone(
    shape: tuple[int, int],
    trials: int,
    timing: Random,
    failing: dict[int, int],
    crashing: frozenset[int],
) -> None:
    calm = Simulator(*shape, trials, failing=failing, crashing=crashing).run()
    hasty = Simulator(
        *shape, trials, timing.randrange, failing, crashing, kills=2, restarts=2
    ).run()
    assert hasty.log == calm.log
    failed = {entry[0] for entry in hasty.log if len(entry) == 2}
    assert failed <= set(failing) | crashing
    assert crashing & set(range(trials)) <= failed


@settings(max_examples=50)
@given(shape=SHAPES, trials=TRIALS, timing=TIMING)
def test_every_trial_gets_each_rung_once_and_in_order(
    shape: tuple[int, int], trials: int, timing: Random
) -> None:
    search = Simulator(*shape, trials, timing.randrange, kills=3, restarts=3).run()
    assert len(search.trials) == trials
    for thin in search.trials.values():
        assert thin.steps == list(RUNGS[: len(thin.steps)])
        assert thin.steps


def test_a_round_starts_when_every_trial_that_can_run_has_asked() -> None:
    rounds = Rounds(1, 3, 5, RUNGS)
    rounds.request(0, CONFIG, 0)
    rounds.request(2, CONFIG, 0)
    assert not rounds.has_work(0)
    rounds.request(1, CONFIG, 0)
    assert batch(rounds) == [0, 1, 2]


def test_towards_the_end_a_round_waits_only_for_trials_that_are_left() -> None:
    rounds = started(1, 3, 3)
    finish(rounds, 10)
    for trial in range(3):
        rounds.processed(trial, 10)
    rounds.ended(1)
    rounds.request(0, CONFIG, 10)
    assert not rounds.has_work(0)
    rounds.request(2, CONFIG, 10)
    assert batch(rounds) == [0, 2]


def test_a_trial_that_ends_for_good_is_no_longer_waited_for() -> None:
    rounds = Rounds(1, 2, 2, RUNGS)
    rounds.request(0, CONFIG, 0)
    assert not rounds.has_work(0)
    rounds.ended(1)
    assert batch(rounds) == [0]


def test_reports_are_handed_back_in_order_each_after_the_one_before_was_acted_on() -> None:
    rounds = started(1, 3, 3)
    finish(rounds, 10)
    for trial in range(3):
        assert [rounds.ready(other, 0) is not None for other in range(3)] == [
            other == trial for other in range(3)
        ]
        rounds.processed(trial, 10)


def test_no_trial_waits_for_one_that_has_further_to_go() -> None:
    rounds = started(1, 2, 3)
    finish(rounds, 10)
    for trial in range(2):
        rounds.processed(trial, 10)
    rounds.request(1, CONFIG, 10)
    rounds.ended(0)
    rounds.request(2, CONFIG, 0)
    given = {a.trial: (a.target, a.due) for a in rounds.work(0)}
    assert given == {1: (20, True), 2: (10, True)}
    rounds.finish(0, {1: reported(20), 2: reported(10)})
    for trial, step in ((1, 20), (2, 10)):
        rounds.processed(trial, step)
        rounds.request(trial, CONFIG, step)
    given = {a.trial: (a.target, a.due) for a in rounds.work(0)}
    assert given == {1: (30, False), 2: (20, True)}
    rounds.finish(0, {1: NotDue(30), 2: reported(20)})
    assert rounds.ready(2, 10) == reported(20)
    assert rounds.ready(1, 20) is None
    rounds.processed(2, 20)
    rounds.ended(2)
    assert [(a.trial, a.target, a.due) for a in rounds.work(0)] == [(1, 40, True)]


def test_a_clone_starts_where_the_other_trial_is_then() -> None:
    rounds = started(1, 2, 4)
    finish(rounds, 10)
    rounds.processed(0, 10)
    rounds.processed(1, 10)
    rounds.request(0, CONFIG, 10)
    rounds.request(1, CONFIG, 10)
    finish(rounds, 20)
    rounds.ended(0)
    origin = Origin(kind="clone", trial=0, step=10)  # as it was when the user asked for it
    rounds.request(2, CONFIG, 0, origin)
    rounds.ended(1)
    rounds.request(3, CONFIG, 0, Origin(kind="clone", trial=1, step=10))
    steps = [each.origin.step for each in rounds.work(0) if each.origin]
    assert steps == [20, 20]
    rounds.finish(0, {2: reported(10), 3: reported(10)})
    rounds.processed(2, 10)
    rounds.processed(3, 10)
    rounds.request(2, CONFIG, 10)
    rounds.request(3, CONFIG, 10)
    steps = [each.origin.step for each in rounds.work(0) if each.origin]
    assert steps == [20, 20], "it has a state of its own now"


def test_a_trial_that_fails_on_its_way_is_told_at_once() -> None:
    rounds = started(1, 2, 2)
    finish(rounds, 10)
    rounds.processed(0, 10)
    rounds.processed(1, 10)
    rounds.request(0, CONFIG, 10)
    rounds.request(1, CONFIG, 10)
    finish(rounds, 20)
    rounds.processed(0, 20)
    rounds.ended(1)
    rounds.request(0, CONFIG, 20)
    assert [(a.trial, a.target) for a in rounds.work(0)] == [(0, 40)]
    rounds.finish(0, {0: Failed("nan")})
    assert rounds.ready(0, 20) == Failed("nan")


def test_nothing_is_handed_back_before_every_group_is_done() -> None:
    rounds = started(2, 1, 2)
    finish(rounds, 10, group=0)
    assert rounds.ready(0, 0) is None
    finish(rounds, 10, group=1)
    assert rounds.ready(0, 0) is not None


def test_failures_are_handed_back_in_their_turn() -> None:
    rounds = started(1, 3, 3)
    rounds.finish(0, {1: Failed("nan"), **{n: reported(10) for n in batch(rounds) if n != 1}})
    assert rounds.ready(1, 0) is None
    rounds.processed(0, 10)
    assert rounds.ready(1, 0) is None
    assert rounds.ready(2, 0) == reported(10)
    rounds.processed(2, 10)
    assert rounds.ready(1, 0) == Failed("nan")


def test_the_lowest_loss_of_a_round_is_reported_first() -> None:
    rounds = started(1, 3, 3)
    losses = {0: 2.0, 1: 0.5, 2: 2.0}
    rounds.finish(0, {trial: reported(10, losses[trial]) for trial in batch(rounds)})
    for trial in (1, 0, 2):
        ready = [other for other in losses if rounds.ready(other, 0)]
        assert ready == [trial]
        rounds.processed(trial, 10)


def test_a_thin_trial_that_restarts_gets_the_same_report_until_it_is_acted_on() -> None:
    rounds = started(1, 1, 1)
    finish(rounds, 10)
    given = rounds.ready(0, 0)
    rounds.request(0, CONFIG, 0)
    assert rounds.ready(0, 0) == given
    rounds.processed(0, 10)
    rounds.request(0, CONFIG, 0)
    assert rounds.ready(0, 0) is None
    assert rounds.work(0)[0].target == 20


def test_a_request_that_overtakes_the_note_of_the_last_report_is_not_lost() -> None:
    rounds = started(1, 1, 1)
    finish(rounds, 10)
    rounds.request(0, CONFIG, 10)
    assert rounds.ready(0, 10) is None
    rounds.processed(0, 10)
    assert rounds.work(0)[0].target == 20


def test_a_note_that_comes_twice_changes_nothing() -> None:
    rounds = started(1, 1, 1)
    finish(rounds, 10)
    rounds.processed(0, 10)
    rounds.request(0, CONFIG, 10)
    rounds.processed(0, 10)
    assert rounds.work(0)[0].target == 20


def test_trials_are_laid_on_the_groups_evenly_and_stay() -> None:
    rounds = started(2, 2, 5)
    assert [batch(rounds, 0), batch(rounds, 1)] == [[0, 2], [1, 3]]
    for group, trials in ((0, (0, 2)), (1, (1, 3))):
        rounds.finish(group, {trial: reported(10) for trial in trials})
    for trial in range(4):
        rounds.processed(trial, 10)
    rounds.ended(0)
    for trial in (4, 3, 2, 1):
        rounds.request(trial, CONFIG, 10 if trial < 4 else 0)
    assert [batch(rounds, 0), batch(rounds, 1)] == [[2, 4], [1, 3]]


def train_all(rounds: Rounds, then: dict[int, int]) -> list[list[int]]:
    """Trains a round of two groups; then trials ask, by the step of the last report they got."""
    given = [rounds.work(group) for group in range(2)]
    for group, batch in enumerate(given):
        rounds.finish(
            group, {a.trial: reported(a.target) if a.due else NotDue(a.target) for a in batch}
        )
    for trial in sorted(a.trial for batch in given for a in batch):
        if trial in then:
            rounds.processed(trial, then[trial])
        else:
            rounds.ended(trial)
    for trial, step in then.items():
        rounds.request(trial, CONFIG, step)
    return [[a.trial for a in batch] for batch in given]


def test_trials_that_are_due_are_shared_by_the_groups() -> None:
    rounds = started(2, 2, 6)
    assert train_all(rounds, {0: 10, 2: 10, 4: 0, 5: 0}) == [[0, 2], [1, 3]]
    assert train_all(rounds, {0: 20, 2: 20, 4: 10, 5: 10}) == [[0, 2], [4, 5]]
    given = [{a.trial: (a.reached, a.target, a.due) for a in rounds.work(g)} for g in range(2)]
    assert given == [
        {0: (20, 30, False), 5: (10, 20, True)},
        {2: (20, 30, False), 4: (10, 20, True)},
    ]


def test_a_group_stands_in_for_one_that_is_absent() -> None:
    rounds = started(2, 2, 4)
    assert batch(rounds, 1) == [1, 3]
    assert [a.trial for a in rounds.work(0, absent=[1])] == [0, 2]  # its own come first
    rounds.finish(0, {0: reported(10), 2: reported(10)})
    assert not rounds.has_work(0)
    assert rounds.has_work(0, absent=[1])
    assert [a.trial for a in rounds.work(0, absent=[1])] == [1, 3]
    assert not rounds.has_work(0, absent=[1])
    assert not rounds.has_work(1)
    rounds.finish(1, {1: reported(20), 3: reported(20)})  # was there after all, and is too late
    assert rounds.ready(0, 0) is None
    rounds.finish(0, {1: reported(10), 3: reported(10)})
    rounds.processed(0, 10)
    assert rounds.ready(1, 0) == reported(10)


def test_a_pack_that_kills_one_group_after_another_is_taken_apart() -> None:
    rounds = started(2, 2, 4)
    finish(rounds, 10, group=0)
    assert batch(rounds, 1) == [1, 3]
    assert [a.trial for a in rounds.work(0, absent=[1])] == [1, 3]
    rounds.crashed(0)
    assert batch(rounds, 0) == [1]


def test_a_batch_is_given_out_again_when_its_group_died() -> None:
    rounds = started(1, 2, 2)
    assert batch(rounds) == [0, 1]
    assert batch(rounds) == []  # in flight
    rounds.crashed(0)
    assert batch(rounds) == [0, 1]


def test_a_pack_that_keeps_crashing_is_taken_apart_and_the_culprit_fails() -> None:
    rounds = started(1, 3, 3)
    for _ in range(MAX_CRASHES_TOGETHER):
        assert batch(rounds) == [0, 1, 2]
        rounds.crashed(0)
    finish(rounds, 10)  # trial 0 alone
    for _ in range(MAX_CRASHES_ALONE):
        assert batch(rounds) == [1]
        rounds.crashed(0)
    assert batch(rounds) == [2]
    rounds.finish(0, {2: reported(10)})
    rounds.processed(0, 10)
    rounds.processed(2, 10)
    outcome = rounds.ready(1, 0)
    assert isinstance(outcome, Failed)
    assert "crashed its worker" in outcome.reason


@pytest.mark.parametrize("trials", [1, 3])
def test_to_lose_a_machine_after_the_batch_was_kept_is_no_crash(trials: int) -> None:
    rounds = started(1, trials, trials)
    for _ in range(MAX_CRASHES_ALONE + MAX_CRASHES_TOGETHER):
        assert batch(rounds) == list(range(trials))
        rounds.kept(0)
        rounds.crashed(0)
    for _ in range(MAX_CRASHES_ALONE if trials == 1 else MAX_CRASHES_TOGETHER):
        assert batch(rounds) == list(range(trials)), "each was kept for one loss alone"
        rounds.crashed(0)
    rest = [trial for _ in range(trials) for trial in batch(rounds)]
    assert rest == ([] if trials == 1 else [0]), "then it fails, or is taken apart"


def test_what_was_kept_in_one_batch_excuses_no_crash_in_the_next() -> None:
    rounds = started(1, 1, 1)
    batch(rounds)
    rounds.kept(0)
    finish(rounds, RUNGS[0])
    rounds.processed(0, RUNGS[0])
    rounds.request(0, CONFIG, RUNGS[0])
    for _ in range(MAX_CRASHES_ALONE):
        assert batch(rounds) == [0]
        rounds.crashed(0)
    assert batch(rounds) == []
    assert isinstance(rounds.ready(0, RUNGS[0]), Failed)


def test_a_lone_trial_is_forgiven_a_dead_worker_once_it_has_gone_on() -> None:
    rounds = started(1, 1, 1)
    for step in RUNGS:
        batch(rounds)
        rounds.crashed(0)
        finish(rounds, step)
        assert rounds.ready(0, 0) == reported(step)
        rounds.processed(0, step)
        rounds.request(0, CONFIG, step)


@pytest.mark.parametrize("in_flight", [False, True])
def test_a_group_works_on_after_all_trials_of_its_batch_have_ended(in_flight: bool) -> None:
    rounds = started(1, 2, 4)
    if in_flight:
        batch(rounds)
    rounds.ended(0)
    rounds.ended(1)
    rounds.request(2, CONFIG, 0)
    rounds.request(3, CONFIG, 0)
    if in_flight:
        rounds.finish(0, {0: reported(10), 1: reported(10)})
    assert batch(rounds) == [2, 3]
