"""The coordinator as a plain object: who waits, who is woken, and with what."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from packing.simulator import config_of, reported
from perft.base_score import BaseScore
from perft.config import TrainingConfig
from perft.packing import coordinator
from perft.packing.coordinator import ABSENT_SECONDS, MAX_STARTS_WITHOUT_WORK, Coordinator
from perft.packing.messages import (
    Assignment,
    Failed,
    NextReport,
    Reported,
    Scored,
    SearchOver,
    ToScore,
    Work,
)
from perft.trial import AnswerCount

BASE = BaseScore(objective="sft", val_loss=2.5, validation=AnswerCount(1, 9))
RUNGS = (10, 20)
Play = Callable[[Coordinator], Awaitable[None]]


def run(
    play: Play,
    groups: int = 1,
    slots: int = 2,
    trials: int = 2,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):  # a test that would wait for ever fails instead
            await play(Coordinator(groups, slots, trials, RUNGS, clock))

    asyncio.run(main())


def ask(point: Coordinator, trial: int, after: int = 0) -> "asyncio.Task[NextReport]":
    return asyncio.create_task(point.next_report(trial, config_of(RUNGS[-1], trial), after))


def failure(answer: NextReport) -> str:
    assert isinstance(answer, Failed)
    return answer.reason


async def group(point: Coordinator, number: int = 0) -> None:
    """A worker group that trains whatever it is given, until it is told to stop."""
    await point.attach(number)
    results = None
    while True:
        work = await point.next_work(number, results)
        if work.stop:
            return
        results = {a.trial: reported(a.target) for a in work.assignments} or None
        if work.to_score:
            scores = {n: {"test": AnswerCount(n, 9)} for n in work.to_score.trials}
            await point.scored(Scored(trials=scores, base=BASE if work.to_score.base else None))


@pytest.fixture
def short_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "POLL_SECONDS", 0.01)


class Clock:
    """Stands still at `now`."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_trials_get_their_reports_in_order() -> None:
    async def play(point: Coordinator) -> None:
        working = asyncio.create_task(group(point))
        asked = [ask(point, 1), ask(point, 0)]
        assert await asked[1] == reported(10)
        await asyncio.sleep(0.01)
        assert not asked[0].done()  # trial 0 is not acted on yet
        await point.processed(0, 10)
        assert await asked[0] == reported(10)
        await point.stop()
        await working

    run(play)


def test_a_group_is_told_what_to_train() -> None:
    async def play(point: Coordinator) -> None:
        asked = [ask(point, 0), ask(point, 1)]
        await point.attach(0)
        assert await point.next_work(0, None) == Work(
            assignments=tuple(
                Assignment(trial=n, config=config_of(RUNGS[-1], n), reached=0, target=10, due=True)
                for n in range(2)
            )
        )
        await point.give_up("done")
        await asyncio.gather(*asked)

    run(play)


@pytest.mark.usefixtures("short_poll")
def test_a_question_without_an_answer_comes_back_empty() -> None:
    async def play(point: Coordinator) -> None:
        await point.attach(0)
        assert await point.next_work(0, None) == Work()

    run(play)


def test_a_waiting_group_is_woken_by_a_request() -> None:
    async def play(point: Coordinator) -> None:
        await point.attach(0)
        work = asyncio.create_task(point.next_work(0, None))
        await asyncio.sleep(0)
        asked = ask(point, 0)
        assert trials_in(await work) == [0]
        asked.cancel()

    run(play, trials=1)


def test_giving_up_tells_every_trial_and_group_why() -> None:
    async def play(point: Coordinator) -> None:
        working = asyncio.create_task(group(point))
        asked = ask(point, 0)
        await asyncio.sleep(0)
        await point.give_up("no base")
        await point.give_up("something later")
        assert await asked == SearchOver("no base")
        assert await ask(point, 1) == SearchOver("no base")
        assert await point.score(ToScore(trials=(0,))) == Scored()
        assert await point.failure_of(0) == "no base"
        assert (await point.status()).fatal == "no base"
        await working

    run(play)


def test_stop_ends_every_group() -> None:
    async def play(point: Coordinator) -> None:
        working = [asyncio.create_task(group(point, number)) for number in range(2)]
        await asyncio.sleep(0)
        assert (await point.status()).ready == (0, 1)
        await point.stop()
        await asyncio.gather(*working)

    run(play, groups=2, slots=1)


def test_every_group_scores_its_share() -> None:
    async def play(point: Coordinator) -> None:
        working = [asyncio.create_task(group(point, number)) for number in range(2)]
        assert (await point.score(ToScore(trials=(3, 5)))).trials == {
            3: {"test": (3, 9)},
            5: {"test": (5, 9)},
        }
        assert (await point.score(ToScore(trials=(4,)))).trials == {4: {"test": (4, 9)}}
        await point.stop()
        await asyncio.gather(*working)

    run(play, groups=2, slots=1)


def test_scores_are_there_when_every_share_is() -> None:
    async def play(point: Coordinator) -> None:
        scores = asyncio.create_task(point.score(ToScore(trials=(3, 5, 7))))
        await asyncio.sleep(0)
        assert (await point.next_work(1, None)).to_score.trials == (5,)
        assert (await point.next_work(0, None)).to_score.trials == (3, 7)
        await point.scored(Scored(trials={5: {"test": AnswerCount(5, 9)}}))
        assert not scores.done()
        rest = {3: {"test": AnswerCount(3, 9)}, 7: {"test": AnswerCount(7, 9)}}
        await point.scored(Scored(trials=rest))
        assert set((await scores).trials) == {3, 5, 7}

    run(play, groups=2, slots=1)


@pytest.mark.usefixtures("short_poll")
def test_a_group_without_a_share_scores_nothing() -> None:
    async def play(point: Coordinator) -> None:
        await point.attach(0)
        scores = asyncio.create_task(point.score(ToScore(trials=(3,))))
        await asyncio.sleep(0)
        assert (await point.next_work(1, None)).to_score.trials == ()
        assert (await point.next_work(0, None)).to_score.trials == (3,)
        await point.give_up("done")
        assert await scores == Scored()

    run(play, groups=2, slots=1)


def test_scores_are_asked_for_again_after_the_group_died() -> None:
    async def play(point: Coordinator) -> None:
        await point.attach(0)
        scores = asyncio.create_task(point.score(ToScore(trials=(0,))))
        await asyncio.sleep(0)
        assert (await point.next_work(0, None)).to_score.trials == (0,)
        working = asyncio.create_task(group(point))  # the same group, come back
        assert (await scores).trials == {0: {"test": (0, 9)}}
        await point.stop()
        await working

    run(play)


def test_why_a_trial_failed_is_remembered_after_it_ended() -> None:
    async def play(point: Coordinator) -> None:
        asked = ask(point, 0)
        await point.attach(0)
        await point.next_work(0, None)
        await point.next_work(0, {0: Failed("the loss is nan")})
        assert await asked == Failed("the loss is nan")
        await point.ended(0)
        assert await point.failure_of(0) == "the loss is nan"
        assert await point.failure_of(7) == ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordinator, "POLL_SECONDS", 0.01)
        run(play, trials=1)


def test_a_group_that_comes_back_gets_its_batch_again() -> None:
    async def play(point: Coordinator) -> None:
        asked = [ask(point, 0), ask(point, 1)]
        for _ in range(2):
            await point.attach(0)
            assert trials_in(await point.next_work(0, None)) == [0, 1]
        await point.give_up("done")
        await asyncio.gather(*asked)

    run(play)


def trials_in(work: Work) -> list[int]:
    return [assignment.trial for assignment in work.assignments]


@pytest.mark.usefixtures("short_poll")
def test_a_group_that_has_not_started_is_stood_in_for() -> None:
    async def play(point: Coordinator) -> None:
        asked = [ask(point, trial) for trial in range(2)]
        await point.attach(1)
        assert trials_in(await point.next_work(1, None)) == [1]
        assert trials_in(await point.next_work(1, {1: reported(10)})) == [0]
        await point.next_work(1, {0: reported(10)})
        assert await asked[0] == reported(10)
        await point.give_up("done")
        await asked[1]

    run(play, groups=2, slots=1)


@pytest.mark.usefixtures("short_poll")
def test_a_group_that_is_not_heard_of_any_more_is_stood_in_for() -> None:
    clock = Clock()

    async def play(point: Coordinator) -> None:
        asked = [ask(point, trial) for trial in range(2)]
        for number in range(2):
            await point.attach(number)
            assert trials_in(await point.next_work(number, None)) == [number]
        assert trials_in(await point.next_work(1, {1: reported(10)})) == []
        clock.now = ABSENT_SECONDS - 1
        await point.beat(0)
        clock.now += ABSENT_SECONDS - 1
        assert trials_in(await point.next_work(1, None)) == []
        clock.now += 1
        assert trials_in(await point.next_work(1, None)) == [0]
        await point.next_work(0, {0: reported(20)})  # it was there after all: too late
        await point.next_work(1, {0: reported(10)})
        assert await asked[0] == reported(10)
        await point.give_up("done")
        await asked[1]

    run(play, groups=2, slots=1, clock=clock)


@pytest.mark.usefixtures("short_poll")
def test_a_trial_fails_that_takes_one_group_after_another_with_it() -> None:
    clock = Clock()

    async def play(point: Coordinator) -> None:
        asked = [ask(point, trial) for trial in range(3)]
        for number in range(3):
            await point.attach(number)
        assert trials_in(await point.next_work(2, None)) == [2]
        for number in (0, 1):
            assert trials_in(await point.next_work(number, None)) == [number]
        clock.now = ABSENT_SECONDS
        await point.beat(0)
        assert trials_in(await point.next_work(1, {1: reported(10)})) == [2]
        assert trials_in(await point.next_work(0, {0: reported(10)})) == []
        clock.now += ABSENT_SECONDS
        assert trials_in(await point.next_work(0, None)) == [2]
        await point.attach(0)  # it has died, too
        for trial in range(2):
            assert await asked[trial] == reported(10)
            await point.processed(trial, 10)
        assert "crashed its worker" in failure(await asked[2])

    run(play, groups=3, slots=1, trials=3, clock=clock)


@pytest.mark.usefixtures("short_poll")
def test_the_share_of_a_group_that_is_gone_is_scored_by_another() -> None:
    async def play(point: Coordinator) -> None:
        working = asyncio.create_task(group(point, 1))
        assert (await point.score(ToScore(trials=(3, 5)))).trials.keys() == {3, 5}
        await point.stop()
        await working

    run(play, groups=2, slots=1)


@pytest.mark.usefixtures("short_poll")
def test_the_base_is_scored_by_one_group_and_by_another_if_that_is_gone() -> None:
    async def play(point: Coordinator) -> None:
        await point.attach(0)
        await point.attach(1)
        scored = asyncio.create_task(
            point.score(ToScore(trials=(3,), base=TrainingConfig(lr=1e-3)))
        )
        await asyncio.sleep(0)
        assert (await point.next_work(0, None)).to_score == ToScore(trials=(3,))
        assert (await point.next_work(1, None)).to_score == ToScore(base=TrainingConfig(lr=1e-3))
        clock.now += coordinator.ABSENT_SECONDS + 1
        await point.scored(Scored(trials={3: {"test": AnswerCount(3, 9)}}))
        assert not scored.done()
        working = asyncio.create_task(group(point))
        assert (await scored).base == BASE
        await point.stop()
        await working

    clock = Clock()
    run(play, groups=2, slots=1, clock=clock)


def test_a_group_that_only_ever_dies_ends_the_search() -> None:
    async def play(point: Coordinator) -> None:
        asked = ask(point, 0)
        for _ in range(MAX_STARTS_WITHOUT_WORK):
            assert await point.starting(0)
        assert not (await point.status()).fatal
        assert not await point.starting(0)
        answer = await asked
        assert isinstance(answer, SearchOver)
        assert f"worker group 0 died {MAX_STARTS_WITHOUT_WORK} times" in answer.reason
        assert not await point.starting(1)  # nobody starts in a search that is over

    run(play)


@pytest.mark.usefixtures("short_poll")
def test_two_trials_that_kill_every_worker_do_not_end_the_search() -> None:
    async def play(point: Coordinator) -> None:
        asked = [ask(point, trial) for trial in range(3)]
        await asyncio.sleep(0)
        trained: set[int] = set()
        while 2 not in trained:
            assert await point.starting(0)
            await point.attach(0)
            work = await point.next_work(0, None)
            trained = set(trials_in(work)) - {0, 1}
            if len(work.assignments) > len(trained):
                trained = set()  # 0 or 1 has killed the worker
        await point.next_work(0, {2: reported(10)})
        assert await asked[2] == reported(10)
        await point.processed(2, 10)
        for trial in (0, 1):
            assert "crashed its worker" in failure(await asked[trial])
            await point.ended(trial)

    run(play, slots=3, trials=3)


def test_the_smallest_microbatch_that_a_group_asked_for_is_remembered() -> None:
    async def play(point: Coordinator) -> None:
        assert await point.microbatch_limit(0) is None
        for tokens in (800, 400, 600):
            await point.limit_microbatches(0, tokens)
        assert await point.microbatch_limit(0) == 400
        assert await point.microbatch_limit(1) is None

    run(play)


@pytest.mark.usefixtures("short_poll")
def test_work_that_is_done_clears_the_count_of_starts() -> None:
    async def play(point: Coordinator) -> None:
        for _ in range(2 * MAX_STARTS_WITHOUT_WORK):
            assert await point.starting(0)
            await point.next_work(0, {})

    run(play)


@pytest.mark.usefixtures("short_poll")
def test_a_group_whose_machines_are_taken_again_and_again_goes_on() -> None:
    async def play(point: Coordinator) -> None:
        asked = ask(point, 0)
        await asyncio.sleep(0)
        for _ in range(2 * MAX_STARTS_WITHOUT_WORK):
            assert await point.starting(0)
            await point.attach(0)
            assert trials_in(await point.next_work(0, None)) == [0]
            await point.kept(0)
        await point.next_work(0, {0: reported(10)})
        assert await asked == reported(10)

    run(play, trials=1)


def test_steps_are_there_for_whoever_watches() -> None:
    async def play(point: Coordinator) -> None:
        await point.note_steps({0: 3})
        await point.note_steps({0: 4, 1: 2})
        assert (await point.status()).steps == {0: 4, 1: 2}

    run(play)


def test_what_groups_have_to_say_is_heard_once_each_until_they_end() -> None:
    async def play(point: Coordinator) -> None:
        listening = asyncio.create_task(point.notes_after(0))
        await asyncio.sleep(0.01)
        assert not listening.done()
        for _ in range(2):  # two groups say the same
            await point.note("experts run uncompiled")
        assert await listening == ("experts run uncompiled",)
        listening = asyncio.create_task(point.notes_after(1))
        await asyncio.sleep(0.01)
        assert not listening.done()
        await point.stop()
        assert await listening == ()

    run(play)


def test_what_a_group_does_before_it_is_ready_is_there_for_whoever_watches() -> None:
    async def play(point: Coordinator) -> None:
        assert (await point.status()).started == ()
        await point.stage(1, "importing")
        await point.stage(1, "loading the base")
        status = await point.status()
        assert (status.started, status.stages) == ((1,), {1: "loading the base"})

    run(play, groups=2)


def test_a_group_that_starts_again_is_spoken_of() -> None:
    async def play(point: Coordinator) -> None:
        await point.starting(0)
        await point.starting(0)  # it has not been ready, and the user waits for it anyway
        await point.attach(0)
        listening = asyncio.create_task(point.notes_after(0))
        await asyncio.sleep(0.01)
        assert not listening.done()
        await point.starting(0)
        assert await listening == ("worker group 0 died and starts again",)

    run(play)


def test_what_a_worker_asked_that_has_died_takes_no_batch() -> None:
    async def play(point: Coordinator) -> None:
        await point.attach(0)
        before = asyncio.create_task(point.next_work(0, None))
        await asyncio.sleep(0)
        await point.attach(0)  # another worker, in its place
        after = asyncio.create_task(point.next_work(0, None))
        await asyncio.sleep(0)
        asked = ask(point, 0)
        assert await before == Work(stop=True)
        assert trials_in(await after) == [0]
        await point.give_up("done")
        await asked

    run(play, trials=1)


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({0: {"failure": "the loss is nan"}}, "results.0: unknown field 'failure'"),
        (
            {0: Reported(reported(10).report, None)},
            "results.0.size must be an object, found None",
        ),
        ({0: {}}, "results.0.report is missing"),
        ([Failed("the loss is nan")], "results must be an object"),
        ({"0": Failed("the loss is nan")}, "a key of results must be a whole number, found '0'"),
    ],
)
def test_results_that_are_none_end_the_search(results: Any, reason: str) -> None:
    async def play(point: Coordinator) -> None:
        asked = ask(point, 0)
        await point.attach(0)
        await point.next_work(0, None)
        assert (await point.next_work(0, results)).stop
        answer = await asked
        assert isinstance(answer, SearchOver)
        assert reason in answer.reason

    run(play, trials=1)


def test_a_configuration_that_is_none_ends_the_search() -> None:
    async def play(point: Coordinator) -> None:
        answer = await point.next_report(0, {"lr": 1.0}, 0)  # type: ignore[arg-type]
        assert isinstance(answer, SearchOver)
        assert "the configuration of trial 0" in answer.reason

    run(play)
