"""A replayed search decides as a real one does, of which only the training is left out."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packing.simulator import RUNGS, SIZE, Median, Simulator, StandIn, config_of, loss_of, reported
from perft.errors import SearchError
from perft.packing.messages import Reported
from perft.searching.agenda import Agenda, Trial
from perft.searching.pruning.pruners import NoPruner, Pruner
from perft.searching.replay.recording import Recording
from perft.searching.replay.replay import Ended, Replay
from perft.searching.replay.simulation import Target
from perft.trial import Origin, Outcome, TrialConfig, TrialResult

SHAPES = st.sampled_from([(1, 1), (1, 4), (1, 6), (2, 2), (2, 3), (3, 1), (3, 2)])


def recorded(number: int, rate: float, losses: tuple[float, ...]) -> TrialResult:
    config = config_of(RUNGS[-1])
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, lr=rate))
    reports = [reported(step, loss).report for step, loss in zip(RUNGS, losses, strict=False)]
    outcome: Outcome = "complete" if len(reports) == len(RUNGS) else "pruned"
    return TrialResult(
        number=number, config=config, outcome=outcome, reports=tuple(reports), size=SIZE
    )


class OfSimulator(Recording):
    """Reports as the simulator's groups do."""

    def __init__(self) -> None:
        super().__init__([recorded(0, 1e-3, (1.0, 1.0, 1.0))])

    def reported(self, config: TrialConfig, step: int) -> Reported | None:
        return reported(step, loss_of(config, step))


@settings(max_examples=60)
@given(
    shape=SHAPES,
    trials=st.integers(1, 16),
    second_chances=st.integers(0, 4),
    confirmations=st.integers(0, 2),
)
def test_decides_as_coordinator_callback_scheduler_and_searcher_do(
    shape: tuple[int, int], trials: int, second_chances: int, confirmations: int
) -> None:
    real = Simulator(
        *shape, trials, second_chances=second_chances, confirmations=confirmations
    ).run()
    study = StandIn(RUNGS[-1])
    agenda = Agenda(
        study,
        num_trials=trials,
        max_steps=RUNGS[-1],
        second_chances=second_chances,
        confirmations=confirmations,
    )
    groups, slots = shape
    replay = Replay(agenda, Median(), OfSimulator(), RUNGS, groups=groups, slots=slots)
    ended = list(replay.run())
    # What is drawn next follows from all that a study was told before, and in which order.
    assert study.told == real.studied.told
    assert {each.trial.number for each in ended} == real.ended
    assert {each.trial.number: each.outcome for each in ended} == {
        number: entry.outcome for number, entry in real.ledger.entries.items()
    }


def replayed(
    recording: Recording, groups: int, slots: int, trials: int, pruner: Pruner | None = None
) -> list[Ended]:
    agenda = Agenda(StandIn(RUNGS[-1]), num_trials=trials, max_steps=RUNGS[-1])
    pruner = pruner or NoPruner()
    return list(Replay(agenda, pruner, recording, RUNGS, groups=groups, slots=slots).run())


@pytest.mark.parametrize(("groups", "slots", "in_a_row"), [(1, 4, 40), (2, 2, 40), (2, 1, 80)])
def test_counts_the_steps_of_all_trials_and_those_of_the_rounds(
    groups: int, slots: int, in_a_row: int
) -> None:
    last = replayed(OfSimulator(), groups, slots, trials=4)[-1]
    assert (last.steps, last.in_a_row) == (160, in_a_row)


def test_a_recorded_trial_that_was_stopped_stops_and_says_so() -> None:
    [ended] = replayed(Recording([recorded(0, 1e-3, (1.0, 0.9))]), 1, 1, trials=1)
    assert (ended.outcome, ended.is_cut) == ("pruned", True)
    assert ended.last is not None
    assert ended.last.report.step == RUNGS[1]


def test_a_trial_that_the_pruner_stops_is_not_called_cut() -> None:
    class StopsAll:
        def stops(self, at: object) -> bool:
            return True

    recording = Recording([recorded(0, 1e-3, (1.0,))])
    [ended] = replayed(recording, 1, 1, trials=1, pruner=StopsAll())
    assert (ended.outcome, ended.is_cut) == ("pruned", False)


def test_a_recorded_trial_without_the_first_rung_fails() -> None:
    late = dataclasses.replace(
        recorded(0, 1e-3, (1.0, 1.0, 1.0)), reports=(reported(RUNGS[-1]).report,)
    )
    [ended] = replayed(Recording([late]), 1, 1, trials=1)
    assert ended.outcome == "failed"


@given(st.floats(1e-4, 1.0))
def test_the_same_adapter_at_the_nearest_logarithm_of_the_rate_answers(rate: float) -> None:
    rates = (1e-3, 1e-2, 1e-1)
    recording = Recording([recorded(n, each, (1.0 + n,) * 3) for n, each in enumerate(rates)])
    wanted = recorded(9, rate, (0.0,)).config
    nearest = recording.nearest(wanted)
    distances = [abs(math.log(rate / each)) for each in rates]
    assert distances[nearest.number] == pytest.approx(min(distances))
    answer = recording.reported(wanted, RUNGS[0])
    assert answer is not None
    assert answer.report.val_loss == 1.0 + nearest.number


def test_another_seed_or_length_makes_no_distance() -> None:
    trial = recorded(0, 1e-3, (1.0,) * 3)
    other = recorded(1, 1.1e-3, (2.0,) * 3)
    training = dataclasses.replace(trial.config.training, seed=7, max_steps=99)
    wanted = dataclasses.replace(trial.config, training=training)
    assert Recording([other, trial]).nearest(wanted) is trial


def test_a_recording_of_nothing_is_refused() -> None:
    failed = TrialResult(number=0, config=config_of(40), outcome="failed", error="no")
    with pytest.raises(SearchError, match="no recorded trial has reached a rung"):
        Recording([failed])


def test_a_continuation_answers_with_that_which_it_continues() -> None:
    whole = recorded(0, 1e-3, (3.0, 2.0, 1.0))
    before = dataclasses.replace(whole, outcome="pruned", reports=whole.reports[:1])
    after = dataclasses.replace(
        whole,
        number=5,
        reports=whole.reports[1:],
        origin=Origin(kind="continue", trial=0, step=RUNGS[0]),
    )
    [joined] = Recording([after, before]).trials
    assert joined.reports == whole.reports
    assert joined.outcome == "complete"


def test_clones_and_confirmations_do_not_answer() -> None:
    whole = recorded(0, 1e-3, (3.0, 2.0, 1.0))
    others = [
        dataclasses.replace(whole, number=number, origin=origin)
        for number, origin in enumerate(
            [Origin(kind="clone", trial=0, step=5), Origin(kind="confirm", trial=0)], start=1
        )
    ]
    added = dataclasses.replace(whole, number=3, origin=Origin(kind="add"))
    assert Recording([whole, *others, added]).trials == [whole, added]


def test_regret_is_the_share_of_the_hypervolume_that_is_missing() -> None:
    trials = [sized(0, 100, 2), sized(1, 1000, 3), sized(2, 10_000, 4)]
    target = Target.of(trials)
    assert target.volume == pytest.approx((0.5 + 0.75) / 2)
    assert target.regret([]) == 1.0
    assert target.regret([ended(trial) for trial in trials]) == pytest.approx(0.0)
    missing = target.regret([ended(trials[0])])
    assert missing == pytest.approx(1 - 0.5 / target.volume)
    assert target.regret([ended(trials[0]), ended(trials[1], outcome="pruned")]) == missing
    late = [ended(trials[0], steps=40), ended(trials[1], steps=80)]
    assert target.regret(late, max_steps=79) == missing
    assert target.regret(late, max_steps=80) == pytest.approx(0.0)


def sized(number: int, activated: int, correct: int) -> TrialResult:
    trial = recorded(number, 1e-3, (1.0,) * 3)
    last = dataclasses.replace(trial.reports[-1], correct=correct)
    size = dataclasses.replace(SIZE, activated=activated)
    return dataclasses.replace(trial, size=size, reports=(*trial.reports[:-1], last))


def ended(trial: TrialResult, outcome: Outcome = "complete", steps: int = 40) -> Ended:
    assert trial.size is not None
    return Ended(
        trial=Trial(number=trial.number, config=trial.config, params={}),
        outcome=outcome,
        last=Reported(trial.reports[-1], trial.size),
        is_cut=False,
        steps=steps,
        in_a_row=steps,
    )


def test_without_a_front_there_is_no_regret() -> None:
    with pytest.raises(SearchError, match="have no front to compare with"):
        Target.of([recorded(0, 1e-3, (1.0,))])
