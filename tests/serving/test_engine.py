"""Who is in the batch, on a batch that writes numbers: turns, limits, leaving, failing, ending."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

import pytest

from perft.serving.batch import Row, Written
from perft.serving.engine import MAX_PROMPT_TOKENS, Engine, Request
from perft.serving.limits import Limits
from perft.serving.refusals import RefusalError
from perft.serving.sampling import Sampler, Sampling

END = 0


class Counting:
    """Gives every row its number of tokens, from 1 on, and `END` after `last`."""

    def __init__(self, last: int = 1000) -> None:
        self.rows: list[Row] = []
        self.last, self.passes, self.fails = last, 0, False
        self.joined: list[int] = []

    def advance(self, joining: Sequence[Row], leaving: Collection[Row]) -> Written:
        if self.fails:
            raise RuntimeError("no memory left")
        self.passes += 1
        self.rows = [row for row in self.rows if row not in leaving]
        written = [self._next(row) for row in (joining or self.rows)]
        self.rows += joining
        self.joined += [len(joining)] if joining else []
        return written

    def _next(self, row: Row) -> tuple[Row, int]:
        row.ids.append(0)
        new = len(row.ids) - 1
        return row, END if new > self.last else new

    def clear(self) -> None:
        self.rows = []


def request(rows: int = 1, new: int = 5, prompt: int = 1) -> Request:
    some = [Row(None, [7] * prompt, Sampler(Sampling(0.0))) for _ in range(rows)]
    return Request(some, new)


async def ends(asked: Request, timeout: float = 30) -> list[str]:
    return [event.end async for event in asked.events(timeout) if event.end]


def run(batch: Counting, limits: Limits, scene: Callable[[Engine], Awaitable[None]]) -> Engine:
    """Plays a scene while the engine runs."""

    async def play() -> Engine:
        engine = Engine(batch, limits, [END])
        task = asyncio.create_task(engine.run())
        try:
            await asyncio.wait_for(scene(engine), 60)
        finally:
            task.cancel()
        return engine

    return asyncio.run(play())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_tokens_come_in_turn_and_end_as_asked() -> None:
    async def scene(engine: Engine) -> None:
        asked = request(new=3)
        engine.submit(asked)
        found = [(event.token, event.end) async for event in asked.events(30)]
        assert found == [(1, None), (2, None), (3, None), (None, "length")]

    run(Counting(), Limits(), scene)

    async def scene_of_end(engine: Engine) -> None:
        asked = request(rows=2, new=9)
        engine.submit(asked)
        assert await ends(asked) == ["stop", "stop"]

    batch = Counting(last=2)
    engine = run(batch, Limits(), scene_of_end)
    assert engine.steps == 3
    assert (engine.running, engine.waiting) == (0, 0)


def test_no_more_run_than_fit_and_all_are_answered() -> None:
    batch = Counting()

    async def scene(engine: Engine) -> None:
        some = [request(new=2 + i) for i in range(7)]
        for each in some:
            engine.submit(each)
        await asyncio.gather(*map(ends, some))

    run(batch, Limits(max_batch=3), scene)
    assert batch.joined[0] == 3
    assert sum(batch.joined) == 7


def test_long_prompts_join_a_few_at_a_time() -> None:
    batch = Counting()

    async def scene(engine: Engine) -> None:
        some = [request(new=1, prompt=MAX_PROMPT_TOKENS // 2) for _ in range(5)]
        for each in some:
            engine.submit(each)
        await asyncio.gather(*map(ends, some))

    batch.last = 10**9
    run(batch, Limits(), scene)
    assert batch.joined == [2, 2, 1]


def test_who_waits_too_many_is_refused_whole() -> None:
    async def scene(engine: Engine) -> None:
        engine.submit(request(rows=4))
        with pytest.raises(RefusalError) as refused:
            engine.submit(request(rows=2))
        assert (refused.value.status, refused.value.code) == (429, "queue_full")
        engine.submit(request(rows=1))

    run(Counting(), Limits(max_batch=2, max_waiting=3), scene)


def test_who_leaves_gets_no_more_tokens_and_takes_no_place() -> None:
    batch = Counting()

    async def scene(engine: Engine) -> None:
        gone, waits, stays = request(new=10**6), request(new=10**6), request(new=40)
        for each in (gone, waits, stays):
            engine.submit(each)
        await until(lambda: engine.running == 1)
        engine.cancel(waits)
        engine.cancel(gone)
        assert await ends(stays) == ["length"]
        await until(lambda: not batch.rows)

    run(batch, Limits(max_batch=1), scene)


def test_a_row_is_stopped_alone() -> None:
    async def scene(engine: Engine) -> None:
        asked = request(rows=2, new=30)
        engine.submit(asked)
        found = []
        async for event in asked.events(30):
            if event.end:
                found.append((event.index, event.end))
            elif event.index == 1 and event.token == 3:
                engine.stop(asked, 1)
        assert found == [(1, "stop"), (0, "length")]

    run(Counting(), Limits(), scene)


def test_a_failed_step_ends_its_requests_and_the_next_ones_fare_better(caplog) -> None:
    batch = Counting()

    async def scene(engine: Engine) -> None:
        asked, waits = request(new=10**6), request()
        engine.submit(asked)
        engine.submit(waits)
        await until(lambda: engine.running == 1)
        batch.fails = True
        for each in (asked, waits):
            with pytest.raises(RefusalError) as refused:
                await ends(each)
            assert refused.value.status == 500
            assert "memory" not in refused.value.message
        batch.fails = False
        again = request()
        engine.submit(again)
        assert await ends(again) == ["length"]

    run(batch, Limits(max_batch=1), scene)
    assert "no memory left" in caplog.text


def test_time_is_over_also_for_who_waits() -> None:
    async def scene(engine: Engine) -> None:
        asked, waits = request(new=10**6), request()
        engine.submit(asked)
        engine.submit(waits)
        with pytest.raises(RefusalError) as refused:
            await ends(waits, timeout=0.01)
        assert refused.value.status == 504

    run(Counting(), Limits(max_batch=1), scene)


def test_at_the_end_nobody_is_taken_and_all_are_told() -> None:
    async def scene(engine: Engine) -> None:
        asked = request(new=10**6)
        engine.submit(asked)
        await until(lambda: engine.running == 1)
        engine.close()
        with pytest.raises(RefusalError, match="shutting down"):
            engine.submit(request())
        engine.end_all()
        with pytest.raises(RefusalError) as refused:
            await ends(asked)
        assert (refused.value.status, refused.value.code) == (503, "shutting_down")

    run(Counting(), Limits(), scene)
