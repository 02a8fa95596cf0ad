"""A worker may die at any write, and states may be damaged: all results stay the same to the bit.

A trial's rounding depends on the trials beside it, if not on every processor. So it is also held
that a step is only ever made by the same trials at the same steps.
"""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch

from contracts.packs import tiny_pack, trial
from packing.test_worker import Meeting, settings, without_speed
from perft.checkpoint import from_bytes
from perft.config import LoraRouterConfig, RoutedConfig, SingleConfig
from perft.packing.messages import (
    Assignment,
    BatchResult,
    Failed,
    Reported,
    Scored,
    ToScore,
    Work,
)
from perft.packing.worker import GroupWorker
from perft.ranks import Ranks
from perft.search_folder import trial_file
from perft.storage import Storage, is_whole
from perft.training.pack import Pack
from perft.trial import TrialConfig

STEPS = 3
CONFIGS = {
    number: trial(adapter, max_steps=STEPS, warmup_steps=1, seed=number)
    for number, adapter in enumerate(
        [
            RoutedConfig(rank=2, num_experts=2, top_k=1),
            SingleConfig(rank=2),
            LoraRouterConfig(rank=2),
        ]
    )
}
ROUNDS = [(0, 1), (1, 2), (2, 3)]


def orders(*rounds: tuple[int, int], configs: dict[int, TrialConfig] = CONFIGS) -> list[Work]:
    """All trials from a step to another, due at odd ones."""
    return [
        Work(
            assignments=tuple(
                Assignment(
                    trial=number, config=config, reached=reached, target=target, due=target != 2
                )
                for number, config in configs.items()
            )
        )
        for reached, target in rounds
    ]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in a worker may catch it."""


@pytest.fixture(scope="module")
def pack() -> Pack:
    return tiny_pack(dtype=torch.float32)


Step = tuple[tuple[str, int], ...]
"""The trials of a step of the pack, each with the steps it has behind it."""


@dataclass(frozen=True)
class Calm:
    """What a search does that nothing disturbs."""

    outcomes: list[dict[int, BatchResult]]
    adapters: dict[str, bytes]
    steps: set[Step]


class Bench:
    """Has workers with nothing in memory, one after the other, do what they are told."""

    def __init__(self, pack: Pack, patch: pytest.MonkeyPatch) -> None:
        self.steps: set[Step] = set()
        self.notes: list[str] = []
        self.scored: list[Scored] = []
        self._pack = pack
        step = Pack._step

        def watched(pack: Pack, names: Sequence[str]) -> None:
            self.steps.add(tuple((name, pack.running[name].step) for name in sorted(names)))
            step(pack, names)

        patch.setattr(Pack, "_step", watched)

    def work(self, folder: Path, *given: Work) -> list[dict[int, BatchResult]]:
        """The outcomes of each order, without what depends on the clock."""
        for name in list(self._pack.running):
            self._pack.release(name)
        coordinator = Meeting(*given)
        GroupWorker(settings(folder), self._pack, Ranks(), coordinator).run()  # type: ignore[arg-type]
        self.scored += [call[1] for call in coordinator.calls if call[0] == "scored"]
        self.notes += [str(call[1]) for call in coordinator.calls if call[0] == "note"]
        return [plain(outcomes) for outcomes in coordinator.handed_in[1:] if outcomes is not None]


@pytest.fixture
def bench(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(pack, monkeypatch)


@pytest.fixture(scope="module")
def calm(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(pack, patch)
        outcomes = bench.work(folder, *orders(*ROUNDS))
    assert len(bench.steps) == len(ROUNDS)
    return Calm(outcomes, adapters(folder), bench.steps)


def same(bench: Bench, folder: Path, calm: Calm) -> None:
    """A search that is gone on with in `folder` is the calm one, and made no other steps."""
    assert bench.work(folder, *orders(*ROUNDS)) == calm.outcomes
    assert adapters(folder) == calm.adapters
    assert bench.steps <= calm.steps


def plain(results: dict[int, BatchResult]) -> dict[int, BatchResult]:
    return {
        number: without_speed(result) if isinstance(result, Reported) else result
        for number, result in results.items()
    }


def adapters(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.glob("adapters/*/*"))
    }


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the worker die before its nth write from now on, or not at all."""
    before = Storage.write
    left = [-1]

    def write(self: Storage, name: str, data: bytes) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        before(self, name, data)

    monkeypatch.setattr(Storage, "write", write)
    return lambda count: left.__setitem__(0, count)


WRITES = 2 * 3 + 3 * (3 + 1)
"""States of two rounds; of the third a PERFT adapter of two files and two of three, and theirs."""


@pytest.mark.parametrize("write", range(WRITES))
def test_a_worker_may_die_at_any_write(
    write: int, bench: Bench, calm: Calm, dies: Callable[[int], None], tmp_path: Path
) -> None:
    dies(write)
    with pytest.raises(Killed):
        bench.work(tmp_path, *orders(*ROUNDS))
    dies(-1)
    if write % 2:  # the coordinator lives, and gives the round out again
        done = 0 if write < 3 else 1 if write < 6 else 2
        assert bench.work(tmp_path, *orders(*ROUNDS[done:])) == calm.outcomes[done:]
    same(bench, tmp_path, calm)  # as `--resume` asks


SCORING = Work(to_score=ToScore(trials=(0, 1), base=CONFIGS[0].training))


@pytest.mark.parametrize("write", range(3))
def test_a_worker_may_die_at_any_write_of_predictions(
    write: int, bench: Bench, dies: Callable[[int], None], tmp_path: Path
) -> None:
    """Of two trials, and of the base alone."""
    bench.work(tmp_path, *orders(*ROUNDS))
    dies(write)
    with pytest.raises(Killed):
        bench.work(tmp_path, SCORING)
    dies(-1)
    bench.work(tmp_path, SCORING)
    again = bench.scored[-1], predictions(tmp_path)
    bench.work(tmp_path, SCORING)
    assert (bench.scored[-1], predictions(tmp_path)) == again
    assert len(bench.scored) == 2
    assert [file.split("/")[-2] for file in again[1]] == ["0000", "0001", "base"]


def predictions(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.glob("predictions/*/*"))}


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGE = {"cut": cut, "empty": lambda _: b"", "garbage": lambda _: b"no state", "flipped": flipped}


@pytest.mark.parametrize(
    ("kind", "turns"), [("cut", (0,)), ("empty", (1,)), ("garbage", (0, 1)), ("flipped", (0, 1))]
)
def test_a_damaged_state_is_made_again(
    kind: str, turns: tuple[int, ...], bench: Bench, calm: Calm, tmp_path: Path
) -> None:
    bench.work(tmp_path, *orders(*ROUNDS[:2]))
    files = [trial_file(1, turn) for turn in turns]
    for file in files:
        (tmp_path / file).write_bytes(DAMAGE[kind]((tmp_path / file).read_bytes()))
    same(bench, tmp_path, calm)
    assert f"{' and '.join(files)} in {tmp_path} cannot be used" in bench.notes[0]
    assert "trial 1 is trained again" in bench.notes[0]


def test_the_state_of_another_trial_is_not_taken(bench: Bench, calm: Calm, tmp_path: Path) -> None:
    bench.work(tmp_path, *orders(*ROUNDS[:2]))
    for turn in (0, 1):
        (tmp_path / trial_file(0, turn)).write_bytes((tmp_path / trial_file(1, turn)).read_bytes())
    same(bench, tmp_path, calm)


def test_damage_of_an_adapter_is_mended_when_the_search_goes_on(
    bench: Bench, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.work(tmp_path, *orders(*ROUNDS))
    weights = tmp_path / "adapters" / "0000" / "adapter_model.safetensors"
    weights.write_bytes(flipped(weights.read_bytes()))
    (tmp_path / "adapters" / "0001" / "adapter_config.json").unlink()
    (tmp_path / "adapters" / "0002" / "checksums.json").unlink()
    monkeypatch.setattr(Pack, "_step", None)  # training would fail
    same(bench, tmp_path, calm)
    assert all(is_whole(Storage(str(tmp_path)), f"adapters/000{n}") for n in CONFIGS)


def test_a_trial_that_failed_is_not_trained_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = trial(SingleConfig(rank=2), lr=1e38, max_steps=STEPS, warmup_steps=1)
    given = orders(*ROUNDS[:2], configs={**CONFIGS, 3: wild})
    first = bench.work(tmp_path, *given)
    assert isinstance(first[0][3], Failed)
    monkeypatch.setattr(Pack, "_step", None)  # training would fail
    assert bench.work(tmp_path, *given) == first


def test_a_state_without_a_checksum_is_taken(
    bench: Bench, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.work(tmp_path, *orders(*ROUNDS))
    for number in CONFIGS:
        states = [(tmp_path / trial_file(number, turn)).read_bytes() for turn in (0, 1)]
        last = max(states, key=lambda data: from_bytes(data).step)
        (tmp_path / trial_file(number, 1)).unlink()
        (tmp_path / trial_file(number, 0)).write_bytes(without_checksum(last))
    monkeypatch.setattr(Pack, "_step", None)  # training would fail
    same(bench, tmp_path, calm)


def without_checksum(data: bytes) -> bytes:
    """As versions before checksums wrote it."""
    (size,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    del metadata["checksum"]
    metadata["format"] = "perft-trial-state-2"
    return safetensors.torch.save(safetensors.torch.load(data), metadata)
