"""What a process of a worker group does with its orders; no Ray, one process, real training."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pyarrow import parquet

from contracts.packs import TEN, apart, tiny_pack, trial
from packing.simulator import Simulator, StandIn, first
from perft.checkpoint import from_bytes, read_adapter
from perft.config import FurtherMeasures, SingleConfig
from perft.errors import BaseModelError, ConfigError, StorageError
from perft.packing import worker
from perft.packing.messages import (
    Assignment,
    BatchResult,
    Failed,
    NotDue,
    Reported,
    ToScore,
    Work,
)
from perft.packing.settings import GroupSettings, WorkSettings
from perft.packing.worker import GroupWorker
from perft.ranks import Ranks
from perft.search_folder import trial_file
from perft.searching.agenda import Trial
from perft.storage import Storage
from perft.tasks import TaskSource
from perft.training.base_alone import predict_base, score_base
from perft.training.pack import Pack
from perft.trial import TrialConfig

RUNGS = (2, 4, 8)
NAMES = list(TEN)


def configured(number: int) -> TrialConfig:
    """Trial `number` of a search whose full length is the last rung."""
    config = TEN[NAMES[number % len(NAMES)]]
    training = dataclasses.replace(config.training, max_steps=RUNGS[-1], warmup_steps=1)
    return TrialConfig(config.adapter, training)


def order(
    *assignments: tuple[int, int],
    on_their_way: tuple[int, ...] = (),
    reached: int = 0,
    **configs: TrialConfig,
) -> Work:
    """To train each (trial, target), of a configuration of its own if there is one by `t0`, ..."""
    return Work(
        assignments=tuple(
            Assignment(
                trial=trial,
                config=configs.get(f"t{trial}") or configured(trial),
                reached=reached,
                target=target,
                due=trial not in on_their_way,
            )
            for trial, target in assignments
        )
    )


class Meeting:
    """A coordinator that gives out what it was told to, then stops."""

    def __init__(self, *orders: Work) -> None:
        self.orders = list(orders)
        self.handed_in: list[dict[int, Any] | None] = []
        self.calls: list[tuple[Any, ...]] = []
        self.beats = 0
        self.may_start = True
        self.limit: int | None = None

    def __getattr__(self, method: str) -> Any:
        return functools.partial(self._answer, method)

    def _answer(self, method: str, *args: Any) -> Any:
        if method == "starting":
            return self.may_start
        if method == "microbatch_limit":
            return self.limit
        if method == "beat":
            self.beats += 1
            return None
        if method != "next_work":
            self.calls.append((method, *args))
            return None
        self.handed_in.append(args[1])
        return self.orders.pop(0) if self.orders else Work(stop=True)


def settings(folder: Path) -> GroupSettings:
    told = WorkSettings(
        base_model=None, dtype="auto", task=TaskSource(name="arithmetic"), storage=str(folder),
        experts="auto", quantize="none", checkpointing=False, rung_accuracy=True, compile=None,
        slots=1, further=FurtherMeasures(),
    )  # fmt: skip
    return GroupSettings(group=0, coordinator="m", namespace="n", threads=1, work=told)


def new_worker(folder: Path, coordinator: Meeting, pack: Pack | None = None) -> GroupWorker:
    return GroupWorker(settings(folder), pack or tiny_pack(), Ranks(), coordinator)  # type: ignore[arg-type]


def run(folder: Path, *orders: Work) -> list[dict[int, Any]]:
    """The results of each order, from a worker that has just started."""
    coordinator = Meeting(*orders)
    new_worker(folder, coordinator).run()
    assert coordinator.calls[0] == ("attach", 0)
    assert coordinator.handed_in[0] is None
    return coordinator.handed_in[1:]  # type: ignore[return-value]


def without_speed(result: Reported) -> Reported:
    report = dataclasses.replace(result.report, tokens_per_second=0.0)
    return dataclasses.replace(result, report=report)


def test_orders_are_trained_and_answered(tmp_path: Path) -> None:
    first, second = run(tmp_path, order((0, 2), (3, 2)), order((0, 4), (3, 4), reached=2))
    assert set(first) == set(second) == {0, 3}
    assert first[0].report.step == 2
    assert second[3].report.step == 4
    assert first[0].size.trainable > 0


def test_state_is_in_storage_before_the_report_is_handed_in(tmp_path: Path) -> None:
    (outcomes,) = run(tmp_path, order((0, 2)))
    state = from_bytes(Storage(str(tmp_path)).read(trial_file(0)))
    assert state.step == 2
    assert state.reports[-1] == outcomes[0].report
    assert not Storage(str(tmp_path)).exists("adapters")


def test_a_full_length_trial_leaves_its_adapter(tmp_path: Path) -> None:
    run(tmp_path, order((0, 8)))
    config, tensors, found = read_adapter(tmp_path / "adapters" / "0000")
    assert config == configured(0).adapter
    state = from_bytes(Storage(str(tmp_path)).read(trial_file(0)))
    assert apart(tensors, state.adapter) == 0.0
    assert found["perft"]["trained_on"]["name"] == "arithmetic"


def test_a_trial_on_its_way_is_kept_and_reports_later_as_if_it_had_not_stopped(
    tmp_path: Path,
) -> None:
    (whole,) = run(tmp_path / "whole", order((0, 4)))
    halfway = order((0, 2), (3, 2), on_their_way=(0,))
    (first,) = run(tmp_path / "parts", halfway)
    assert first[0] == NotDue(2)
    assert first[3].report.step == 2
    again, second = run(tmp_path / "parts", halfway, order((0, 4), reached=2))  # by another worker
    assert again == first
    assert without_speed(second[0]) == without_speed(whole[0])


def test_a_worker_that_was_replaced_goes_on_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", order((0, 2), (4, 2)), order((0, 8), (4, 8), reached=2))
    before = run(tmp_path / "killed", order((0, 2), (4, 2)))
    after = run(tmp_path / "killed", order((0, 8), (4, 8), reached=2))
    for number in (0, 4):
        assert without_speed(before[0][number]) == without_speed(whole[0][number])
        assert without_speed(after[0][number]) == without_speed(whole[1][number])


def test_what_was_trained_before_is_answered_from_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = order((0, 2)), order((0, 4), reached=2), order((0, 8), reached=4)
    trained = run(tmp_path, *orders)
    monkeypatch.setattr(Pack, "_step", None)  # training would fail
    assert run(tmp_path, *orders) == trained


def test_a_trial_that_moves_between_groups_goes_on_where_it_was(tmp_path: Path) -> None:
    orders = order((0, 2)), order((0, 4), reached=2), order((0, 8), reached=4)
    whole = run(tmp_path / "whole", *orders)
    one, other = tiny_pack(), tiny_pack()
    found: list[Any] = []
    for pack, step, reached in ((one, 2, 0), (other, 4, 2), (one, 8, 4)):
        coordinator = Meeting(order((0, step), reached=reached))
        new_worker(tmp_path / "moved", coordinator, pack).run()
        found.append(coordinator.handed_in[1])
    assert [without_speed(outcomes[0]) for outcomes in found] == [
        without_speed(outcomes[0]) for outcomes in whole
    ]


def test_a_group_at_work_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.01)
    coordinator, pack = Meeting(order((0, 2), (3, 2))), tiny_pack()
    train = pack.train

    def train_long(*args: Any) -> None:
        train(*args)
        while coordinator.beats < 2:  # a step that takes its time
            time.sleep(0.01)

    monkeypatch.setattr(pack, "train", train_long)
    new_worker(tmp_path, coordinator, pack).run()
    heard = coordinator.beats
    assert heard > 1
    time.sleep(0.1)
    assert coordinator.beats <= heard + 1  # and no more when it has ended


def test_trials_that_have_ended_are_let_go(tmp_path: Path) -> None:
    pack = tiny_pack()
    coordinator = Meeting(order((0, 2), (1, 2)), order((1, 4), reached=2))
    new_worker(tmp_path, coordinator, pack).run()
    assert list(pack.running) == ["0001"]


def test_a_trial_that_cannot_be_admitted_fails_alone(tmp_path: Path) -> None:
    good = configured(0)
    far = dataclasses.replace(good, adapter=dataclasses.replace(good.adapter, layers="99"))
    short = dataclasses.replace(good, training=dataclasses.replace(good.training, max_length=1))
    (outcomes,) = run(tmp_path, order((0, 2), (1, 2), (4, 2), t0=far, t1=short))
    assert "layers" in outcomes[0].reason
    assert "max_length" in outcomes[1].reason
    assert outcomes[4].report.step == 2


@pytest.mark.parametrize("method", ["read", "write"])
def test_a_storage_that_cannot_be_used_ends_the_search_and_fails_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    run(tmp_path, order((0, 2), (1, 2)))
    before = getattr(Storage, method)

    def unusable(self: Storage, name: str, *data: bytes) -> Any:
        if name.startswith(trial_file(0).removesuffix(".safetensors")):
            raise StorageError("the disk is gone")
        return before(self, name, *data)

    monkeypatch.setattr(Storage, method, unusable)
    coordinator = Meeting(order((0, 4), (1, 4), reached=2), order((0, 8), (1, 8), reached=4))
    new_worker(tmp_path, coordinator).run()
    assert coordinator.calls[-1] == ("give_up", "the disk is gone")
    assert coordinator.handed_in == [None]


def test_a_trial_whose_loss_is_no_number_fails_and_leaves_no_state(tmp_path: Path) -> None:
    pack = tiny_pack(dtype=torch.float32)
    wild = trial(SingleConfig(rank=2), lr=1e38, max_steps=8, warmup_steps=0)
    coordinator = Meeting(order((0, 4), (1, 4), t0=wild))
    new_worker(tmp_path, coordinator, pack).run()
    outcomes = coordinator.handed_in[1]
    assert outcomes is not None
    assert "the training loss is" in outcomes[0].reason
    assert math.isfinite(outcomes[1].report.val_loss)
    assert not Storage(str(tmp_path)).exists(trial_file(0))


def test_chosen_trials_are_scored_from_their_saved_states(tmp_path: Path) -> None:
    run(tmp_path, order((0, 8), (1, 8)))
    pack = tiny_pack()
    coordinator = Meeting(Work(to_score=ToScore(trials=(1, 0))))
    new_worker(tmp_path, coordinator, pack).run()
    (name, scored) = coordinator.calls[-1]
    assert name == "scored"
    scores = scored.trials
    predictions = pack.predict_tests(["0000", "0001"])
    expected = pack.count_tests(predictions)
    assert scores == {0: expected["0000"], 1: expected["0001"]}
    assert scores[0]["test"][1] == 7
    folder = tmp_path / "predictions" / "0001"
    assert [file.name for file in folder.iterdir()] == ["rank-0.parquet"]
    rows = parquet.read_table(folder).to_pylist()
    assert [row["output"] for row in rows] == [row.output for row in predictions["0001"]["test"]]
    assert sum(row["correct"] for row in rows) == scores[1]["test"][0]


def test_the_base_is_scored_beside_trials_and_its_predictions_are_kept(tmp_path: Path) -> None:
    run(tmp_path, order((0, 8)))
    training = configured(0).training
    coordinator = Meeting(Work(to_score=ToScore(trials=(0,), base=training)))
    new_worker(tmp_path, coordinator).run()
    (name, scored) = coordinator.calls[-1]
    assert name == "scored"
    alone = tiny_pack()
    predictions = predict_base(alone)
    assert scored.base == score_base(alone, training, predictions)
    assert (scored.base.validation.scored, scored.base.tests["test"].scored) == (11, 7)
    rows = parquet.read_table(tmp_path / "predictions" / "base").to_pylist()
    assert {row["adapter"] for row in rows} == {"base"}
    outputs = [row.output for split in ("validation", "test") for row in predictions[split]]
    assert [row["output"] for row in rows] == outputs


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Meeting:
    """The coordinator that `work` finds."""
    coordinator = Meeting()
    monkeypatch.setattr(worker.CoordinatorHandle, "find", lambda name, namespace: coordinator)
    monkeypatch.setattr(worker.ray.train.torch, "get_device", lambda: torch.device("cpu"))
    return coordinator


def test_a_base_that_cannot_be_used_is_said_to_everybody(
    tmp_path: Path, called: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise BaseModelError("there is no base")

    monkeypatch.setattr(worker, "load_base", fail)
    worker.work(settings(tmp_path))
    assert called.calls[-1] == ("give_up", "worker group 0 cannot start: there is no base")


def test_a_group_that_died_too_often_does_not_load_its_base(
    tmp_path: Path, called: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    called.may_start = False
    monkeypatch.setattr(worker, "load_base", None)
    worker.work(settings(tmp_path))
    assert called.calls == []


def without_memory(pack: Pack, error: Exception) -> Pack:
    def train(*_args: Any) -> None:
        pack.max_tokens_per_microbatch = 100
        raise error

    pack.train = train  # type: ignore[method-assign]
    return pack


def test_a_trial_that_fits_no_microbatch_says_why_it_failed(tmp_path: Path) -> None:
    pack = without_memory(tiny_pack(), ConfigError("lower batch_size"))
    coordinator = Meeting(order((0, 2)))
    new_worker(tmp_path, coordinator, pack).run()
    assert coordinator.handed_in == [None, {0: Failed("lower batch_size")}]


def test_of_several_trials_without_memory_none_is_blamed(tmp_path: Path) -> None:
    pack = without_memory(tiny_pack(), ConfigError("lower batch_size"))
    with pytest.raises(ConfigError):
        new_worker(tmp_path, Meeting(order((0, 2), (1, 2))), pack).run()


def test_who_dies_for_want_of_memory_says_so_and_the_next_makes_smaller_microbatches(
    tmp_path: Path, called: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = without_memory(tiny_pack(), torch.OutOfMemoryError("none left"))
    with pytest.raises(torch.OutOfMemoryError):
        new_worker(tmp_path, called, pack)._train_batch(order((0, 2), (1, 2)).assignments)
    assert called.calls == [("limit_microbatches", 0, 100)]
    called.limit, after = 100, tiny_pack()
    monkeypatch.setattr(worker, "_load", lambda *_: after)
    worker.work(settings(tmp_path))
    assert after.max_tokens_per_microbatch == 100


class Killed(BaseException):
    """Stands for SIGKILL: nothing in a worker may catch it."""


class Mortal(GroupWorker):
    """Dies after so many more steps and writes."""

    lives = -1

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        write = self._states.write

        def write_or_die(trial: int, turn: int, data: bytes) -> None:
            self._live()
            write(trial, turn, data)

        self._states.write = write_or_die  # type: ignore[method-assign]

    def _live(self) -> None:
        if self.lives == 0:
            raise Killed
        self.lives -= 1

    def _note_steps(self) -> None:
        self._live()


class Configured(StandIn):
    """Draws trials that can be trained."""

    def draw(self) -> Trial:
        return self.given(configured(self._count), {}, None)


class Trained(Simulator):
    """A search in miniature whose groups really train; a kill loses all that was in memory."""

    folder: Path

    def new_study(self) -> StandIn:
        return Configured(RUNGS[-1])

    def _worker(self, group: int) -> Mortal:
        workers = self.__dict__.setdefault("workers", {})
        if group not in workers:
            workers[group] = Mortal(settings(self.folder), tiny_pack(), Ranks(), None)  # type: ignore[arg-type]
        return workers[group]

    def train(self, group: int, batch: Sequence[Assignment]) -> dict[int, BatchResult]:
        return self._worker(group)._train_batch(batch)

    def die(self, group: int, batch: Sequence[Assignment]) -> None:
        self._worker(group).lives = self.choose(6)
        with contextlib.suppress(Killed):  # it may also die between its last write and its answer
            self._worker(group)._train_batch(batch)
        del self.workers[group]


def trained(folder: Path, shape: tuple[int, int], choose: Any, kills: int) -> list[Any]:
    search = Trained(*shape, 6, choose, kills=kills, restarts=kills, rungs=RUNGS, second_chances=1)
    search.folder = folder
    return search.run().log


def test_workers_that_are_killed_change_no_result(tmp_path: Path) -> None:
    calm = trained(tmp_path / "calm", (1, 4), first, kills=0)
    assert {trial for trial, *_ in calm} == set(range(7)), "one was continued"
    for seed, shape in enumerate([(1, 4), (2, 2)]):
        killed = trained(tmp_path / f"{seed}", shape, Random(seed).randrange, kills=4)
        assert len(killed) == len(calm)
        for one, other in zip(killed, calm, strict=True):
            (*what, loss, stop), (*expected, expected_loss, expected_stop) = one, other
            assert what == expected
            assert stop == expected_stop
            assert loss == pytest.approx(expected_loss, abs=1e-9)
