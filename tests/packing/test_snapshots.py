"""A warned worker keeps its batch between two steps: what resumes from it equals what went on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.packs import tiny_pack, trial
from packing.test_dying import Killed, adapters, flipped, plain
from packing.test_worker import Meeting, settings
from perft.checkpoint import from_bytes
from perft.config import LoraRouterConfig, RoutedConfig, SingleConfig
from perft.errors import StorageError
from perft.packing import snapshots
from perft.packing.messages import Assignment, BatchResult, Failed, Work
from perft.packing.snapshots import Snapshots, batch_id
from perft.packing.states import SavedStates
from perft.packing.worker import GroupWorker
from perft.ranks import Ranks
from perft.search_folder import SNAPSHOTS, STATES
from perft.storage import Storage
from perft.training.pack import Pack
from perft.trial import Origin, TrialConfig

STEPS = 8
VARIANTS = (RoutedConfig(rank=2, num_experts=2, top_k=1), SingleConfig(rank=2))
CONFIGS = {
    number: trial(adapter, max_steps=STEPS, warmup_steps=1, seed=number)
    for number, adapter in enumerate((*VARIANTS, LoraRouterConfig(rank=2)))
}
ROUNDS = [(0, 4), (4, 8)]
LAST = 2
"""A trial that reports at full length only: its sums since the last report outlive a round."""


def batch(
    reached: int, target: int, configs: dict[int, TrialConfig] = CONFIGS
) -> tuple[Assignment, ...]:
    return tuple(
        Assignment(
            trial=number, config=config, reached=reached, target=target,
            due=target == STEPS or number != LAST,
        )
        for number, config in configs.items()
    )  # fmt: skip


def orders(configs: dict[int, TrialConfig] = CONFIGS) -> list[Work]:
    return [Work(assignments=batch(*each, configs)) for each in ROUNDS]


class Bench:
    """Has workers with nothing in memory, one after the other, train in a folder.

    Attributes:
        trained: the steps of the pack that were taken, each with its trials' steps before it.
        notes: for the user.
    """

    def __init__(self, pack: Pack, patch: pytest.MonkeyPatch, ranks: Ranks | None = None) -> None:
        self.trained: list[tuple[tuple[str, int], ...]] = []
        self.notes: list[str] = []
        self._pack, self._ranks = pack, ranks or Ranks()
        self._left = -1
        self._warnings: Sequence[int] = ()
        step = Pack._step

        def watched(pack: Pack, names: Sequence[str]) -> None:
            if self._left == 0:
                raise Killed
            self._left -= 1
            self.trained.append(tuple((name, pack.running[name].step) for name in names))
            step(pack, names)

        patch.setattr(Pack, "_step", watched)
        patch.setattr(snapshots, "AGAIN_SECONDS", 0.0)
        patch.setattr(snapshots, "AGAIN_RATIO", 0.0)

    def work(
        self, folder: Path, given: Sequence[Work], warned_after: Sequence[int] = ()
    ) -> list[dict[int, BatchResult]]:
        """The outcomes of each order, without what depends on the clock.

        Args:
            folder: the search's.
            given: the orders.
            warned_after: steps of the pack, of all so far, after which the machine is warned of.
        """
        for name in list(self._pack.running):
            self._pack.release(name)
        coordinator = Meeting(*given)

        def warned() -> Sequence[str]:
            is_told = self._ranks.rank == 0 and len(self.trained) in warned_after
            return ("10.0.0.7",) if is_told else ()

        try:
            told = settings(folder)
            GroupWorker(told, self._pack, self._ranks, coordinator, warned).run()  # type: ignore[arg-type]
        finally:
            self.notes += [str(call[1]) for call in coordinator.calls if call[0] == "note"]
        return [plain(outcomes) for outcomes in coordinator.handed_in[1:] if outcomes is not None]

    def die(
        self, folder: Path, given: Sequence[Work], steps: int, warned_after: Sequence[int]
    ) -> None:
        """A worker is killed after so many steps of the pack."""
        self.trained.clear()
        self._left = steps
        with pytest.raises(Killed):
            self.work(folder, given, warned_after)
        self._left = -1
        self.trained.clear()


@pytest.fixture(scope="module")
def pack() -> Pack:
    return tiny_pack(dtype=torch.float32)


@pytest.fixture
def bench(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(pack, monkeypatch)


@dataclasses.dataclass(frozen=True)
class Calm:
    """What a search does that nothing disturbs."""

    outcomes: list[dict[int, BatchResult]]
    files: dict[str, Any]
    trained: list[tuple[tuple[str, int], ...]]


@pytest.fixture(scope="module")
def calm(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(pack, patch)
        outcomes = bench.work(folder, orders())
    return Calm(outcomes, files_of(folder), bench.trained)


def files_of(folder: Path) -> dict[str, Any]:
    """Adapters, and all states of trials to the last bit, without what depends on the clock."""
    states = {file.name: file.read_bytes() for file in folder.glob(f"{STATES}/*.safetensors")}
    return {**adapters(folder), **{name: content(data) for name, data in states.items()}}


def content(data: bytes) -> tuple[Any, ...]:
    state = from_bytes(data)
    routing = state.progress.routing
    sums = {} if routing is None else {k: v for k, v in vars(routing).items() if v is not None}
    parts = (state.adapter, state.moments, sums)
    return (
        state.config,
        state.step,
        [dataclasses.replace(report, tokens_per_second=0.0) for report in state.reports],
        (state.progress.loss, state.progress.steps, state.progress.tokens),
        *({key: tensor.numpy().tobytes() for key, tensor in part.items()} for part in parts),
    )


def snapshots_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{SNAPSHOTS}/*/*"))


def same(bench: Bench, folder: Path, calm: Calm, steps_left: int) -> None:
    """Going on gives what the calm search gave, and takes its last steps only."""
    assert bench.work(folder, orders()) == calm.outcomes
    assert files_of(folder) == calm.files
    assert bench.trained == calm.trained[-steps_left:]
    assert snapshots_in(folder) == [], "it outlived its round"


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_a_batch_resumes_where_its_machine_was_warned_of(
    steps: int, bench: Bench, calm: Calm, tmp_path: Path
) -> None:
    """In its first round, and in its second, where a trial has sums from the first."""
    bench.die(tmp_path, orders(), steps + 1, [steps])
    (kept,) = snapshots_in(tmp_path)
    assert kept.name == f"{steps % 4:06d}"
    same(bench, tmp_path, calm, steps_left=8 - steps)
    assert f"resumes with 3 trials at step {steps % 4} of their round" in bench.notes[-1]


def test_the_last_step_of_a_round_is_kept_until_the_round_is_reported(
    bench: Bench, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Pack, "report", dies)
        with pytest.raises(Killed):
            bench.work(tmp_path, orders(), [4])
    bench.trained.clear()
    same(bench, tmp_path, calm, steps_left=4)


def dies(*_args: Any) -> None:
    raise Killed


def test_a_later_snapshot_replaces_the_earlier_once_it_is_whole(
    bench: Bench, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.die(tmp_path / "whole", orders(), 3, [1, 2])
    assert [kept.name for kept in snapshots_in(tmp_path / "whole")] == ["000002"]
    write = Storage.write

    def taken(self: Storage, name: str, data: bytes) -> None:
        if "000002/checksums" in name:
            raise Killed
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", taken)
        bench.die(tmp_path / "taken", orders(), 9, [1, 2])
    assert [kept.name for kept in snapshots_in(tmp_path / "taken")] == ["000001", "000002"]
    same(bench, tmp_path / "taken", calm, steps_left=7)
    assert "000002 is not whole, and is ignored" in bench.notes[-2]


def test_a_damaged_snapshot_is_ignored_and_told_of(
    bench: Bench, calm: Calm, tmp_path: Path
) -> None:
    bench.die(tmp_path, orders(), 3, [2])
    (kept,) = snapshots_in(tmp_path)
    (kept / "0001.safetensors").write_bytes(flipped((kept / "0001.safetensors").read_bytes()))
    same(bench, tmp_path, calm, steps_left=8)
    assert f"{kept} is not whole, and is ignored" in bench.notes[-1]


def test_trials_in_another_batch_ignore_it(bench: Bench, tmp_path: Path) -> None:
    bench.die(tmp_path, orders(), 3, [2])
    fewer = {number: CONFIGS[number] for number in (0, 1)}
    bench.work(tmp_path, orders(fewer)[:1])
    assert [steps[0] for steps in bench.trained] == [("0000", step) for step in range(4)]
    assert len(snapshots_in(tmp_path)) == 1, "it is not theirs to delete"


def test_a_trial_that_has_failed_before_stays_so(bench: Bench, tmp_path: Path) -> None:
    wild = trial(SingleConfig(rank=2), lr=1e38, max_steps=STEPS, warmup_steps=1)
    given = orders({**CONFIGS, 3: wild})[:1]
    calm = bench.work(tmp_path / "calm", given)
    assert isinstance(calm[0][3], Failed)
    trained = list(bench.trained)
    assert "0003" not in dict(trained[2]), "it failed within the round"
    bench.die(tmp_path / "warned", given, 3, [2])
    assert bench.work(tmp_path / "warned", given) == calm
    assert bench.trained == trained[2:]
    assert files_of(tmp_path / "warned") == files_of(tmp_path / "calm")


def test_a_storage_that_takes_no_snapshot_costs_the_snapshot_alone(
    bench: Bench, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Storage.write

    def full(self: Storage, name: str, data: bytes) -> None:
        if name.startswith(SNAPSHOTS):
            raise StorageError("the disk is full")
        write(self, name, data)

    monkeypatch.setattr(Storage, "write", full)
    assert bench.work(tmp_path, orders(), [1, 2]) == calm.outcomes
    assert files_of(tmp_path) == calm.files
    assert bench.notes == [
        "machine 10.0.0.7 is about to be taken: the states of its trials cannot be kept: the disk "
        "is full"
    ]


def test_who_is_warned_of_and_what_is_kept_is_told_once(bench: Bench, tmp_path: Path) -> None:
    bench.die(tmp_path, orders(), 4, [1, 3])
    assert bench.notes == [
        "machine 10.0.0.7 is about to be taken: the state of 3 trials at step 1 of "
        "their round is kept"
    ]


def test_a_machine_that_trains_on_is_kept_again_after_a_while(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    states = SavedStates(Storage(str(tmp_path)), lambda _: None)
    kept = Snapshots(pack, Ranks(), states, lambda: ("a", "b"), lambda: now[0])
    pack.release("0000")
    pack.admit("0000", CONFIGS[0])
    kept.resume(batch(0, 4)[:1])
    taken: list[float] = []
    monkeypatch.setattr(kept, "_write", lambda: taken.append(now[0]))
    said = []
    for second in range(0, 70, 10):
        now[0] = float(second)
        said.append(kept.take_if_warned())
    assert taken == [0.0, 30.0, 60.0]
    assert said == [True, False, False, True, False, False, True]


SAME, CLONE = batch(0, 4), Origin(kind="clone", trial=0, step=4)
OTHERS: dict[str, tuple[Assignment, ...]] = {
    "fewer": SAME[:2],
    "another order": SAME[::-1],
    "another target": batch(0, 5),
    "another seed": batch(0, 4, {**CONFIGS, 1: trial(VARIANTS[1], max_steps=STEPS, seed=7)}),
    "another trial": (*SAME[:2], dataclasses.replace(SAME[2], trial=5)),
    "another origin": (*SAME[:2], dataclasses.replace(SAME[2], origin=CLONE)),
}


def starts_of(given: Sequence[Assignment]) -> dict[int, int]:
    return {wanted.trial: wanted.reached for wanted in given}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_a_snapshot_is_of_one_batch_alone(other: tuple[Assignment, ...]) -> None:
    assert batch_id(SAME, starts_of(SAME)) == batch_id(batch(0, 4), starts_of(SAME))
    assert batch_id(other, starts_of(other)) != batch_id(SAME, starts_of(SAME))


def test_a_snapshot_is_of_the_steps_from_which_its_batch_started() -> None:
    assert batch_id(SAME, starts_of(SAME)) != batch_id(SAME, {**starts_of(SAME), 1: 2})
