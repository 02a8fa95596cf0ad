"""A worker may die at any write, and states may be damaged: all results stay the same to the bit.

A trial's rounding depends on the trials beside it, if not on every processor. So it is also held
that a step is only ever made by the same trials at the same steps.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.packs import tiny_pack, trial
from packing.test_worker import Meeting, settings
from perft.checkpoint import from_bytes
from perft.config import LoraRouterConfig, RoutedConfig, SingleConfig
from perft.packing import worker
from perft.packing.places import trial_file
from perft.packing.rounds import Outcome
from perft.packing.worker import GroupWorker
from perft.ranks import Ranks
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


def orders(*rounds: tuple[int, int], configs: dict[int, TrialConfig] = CONFIGS) -> list[Any]:
    """All trials from a step to another, due at odd ones."""
    return [
        {
            "assignments": [
                {
                    "trial": number,
                    "config": config.to_flat(),
                    "reached": reached,
                    "target": target,
                    "due": target != 2,
                }
                for number, config in configs.items()
            ],
            "score": [],
            "stop": False,
        }
        for reached, target in rounds
    ]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in a worker may catch it."""


@pytest.fixture(scope="module")
def pack() -> Pack:
    return tiny_pack(dtype=torch.float32)


Step = tuple[tuple[str, int], ...]
"""The trials of a step of the pack, each with the steps it has behind it."""


@pytest.fixture
def steps(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> set[Step]:
    """The steps that the pack makes from now on."""
    made: set[Step] = set()
    step = Pack._step

    def watched(self: Pack, names: Sequence[str]) -> None:
        made.add(tuple((name, self.running[name].step) for name in sorted(names)))
        step(self, names)

    monkeypatch.setattr(Pack, "_step", watched)
    return made


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.ray, "get", lambda answer: answer)


Work = Callable[..., list[dict[int, Outcome]]]


@pytest.fixture
def work(pack: Pack) -> Work:
    """Has a new worker, with nothing in memory, do what it is told; keeps what it said."""

    def work(folder: Path, *given: Any) -> list[dict[int, Outcome]]:
        for name in list(pack.running):
            pack.release(name)
        meeting = Meeting(*given)
        work.notes = []  # type: ignore[attr-defined]
        try:
            GroupWorker(settings(folder), pack, Ranks(), meeting).run()
        finally:
            work.notes = [call for call in meeting.calls if call[0] != "attach"]  # type: ignore[attr-defined]
        return [plain(outcomes) for outcomes in meeting.handed_in[1:] if outcomes is not None]

    return work


def plain(outcomes: dict[int, Outcome]) -> dict[int, Any]:
    """Without what depends on the clock."""
    return {
        number: {**outcome, "report": {**outcome["report"], "tokens_per_second": 0.0}}
        if "report" in outcome
        else dict(outcome)
        for number, outcome in outcomes.items()
    }


def adapters(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.glob("adapters/*/*"))
    }


@pytest.fixture
def calm(
    work: Work, steps: set[Step], tmp_path: Path
) -> Iterator[tuple[list[dict[int, Outcome]], dict[str, bytes]]]:
    """A search that nothing has disturbed; no other may make a step that it has not made."""
    outcomes = work(tmp_path / "calm", *orders(*ROUNDS))
    made = set(steps)
    assert len(made) == len(ROUNDS)
    yield outcomes, adapters(tmp_path / "calm")
    assert steps == made


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
    write: int, work: Work, calm: Any, dies: Callable[[int], None], tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    dies(write)
    with pytest.raises(Killed):
        work(folder, *orders(*ROUNDS))
    dies(-1)
    done = 0 if write < 3 else 1 if write < 6 else 2  # rounds
    goes_on = work(folder, *orders(*ROUNDS[done:]))  # as the meeting point, which lives, has it
    assert goes_on == calm[0][done:]
    assert work(folder, *orders(*ROUNDS)) == calm[0]  # and as `--resume` asks
    assert adapters(folder) == calm[1]


@pytest.mark.parametrize("write", [1, 4])
def test_a_search_that_died_with_its_worker_goes_on_the_same(
    write: int, work: Work, calm: Any, dies: Callable[[int], None], tmp_path: Path
) -> None:
    dies(write)
    with pytest.raises(Killed):
        work(tmp_path / "killed", *orders(*ROUNDS))
    dies(-1)
    assert work(tmp_path / "killed", *orders(*ROUNDS)) == calm[0]
    assert adapters(tmp_path / "killed") == calm[1]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGE = {"cut": cut, "empty": lambda _: b"", "garbage": lambda _: b"no state", "flipped": flipped}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("slots", [(0,), (1,), (0, 1)])
def test_a_damaged_state_is_made_again(
    kind: str, slots: tuple[int, ...], work: Work, calm: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    work(folder, *orders(*ROUNDS[:2]))
    for slot in slots:
        file = folder / trial_file(1, slot)
        file.write_bytes(DAMAGE[kind](file.read_bytes()))
    assert work(folder, *orders(*ROUNDS)) == calm[0]
    assert adapters(folder) == calm[1]
    said = [str(what) for name, *what in work.notes if name == "note"]  # type: ignore[attr-defined]
    assert any(trial_file(1, slots[0]) in text and "trial 1" in text for text in said)


def test_the_state_of_another_trial_is_not_taken(work: Work, calm: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    work(folder, *orders(*ROUNDS[:2]))
    for slot in (0, 1):
        (folder / trial_file(0, slot)).write_bytes((folder / trial_file(1, slot)).read_bytes())
    assert work(folder, *orders(*ROUNDS)) == calm[0]


def test_damage_of_an_adapter_is_mended_when_the_search_goes_on(
    work: Work, calm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "damaged"
    work(folder, *orders(*ROUNDS))
    weights = folder / "adapters" / "0000" / "adapter_model.safetensors"
    weights.write_bytes(flipped(weights.read_bytes()))
    (folder / "adapters" / "0001" / "adapter_config.json").unlink()
    (folder / "adapters" / "0002" / "checksums.json").unlink()
    monkeypatch.setattr(Pack, "_step", None)  # training would fail
    assert work(folder, *orders(*ROUNDS)) == calm[0]
    assert adapters(folder) == calm[1]
    assert all(is_whole(Storage(str(folder)), f"adapters/000{n}") for n in CONFIGS)


def test_a_trial_that_failed_is_not_trained_again(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = trial(SingleConfig(rank=2), lr=1e38, max_steps=STEPS, warmup_steps=1)
    given = orders(*ROUNDS[:2], configs={**CONFIGS, 3: wild})
    first = work(tmp_path, *given)
    assert "failure" in first[1][3]
    monkeypatch.setattr(Pack, "_step", None)  # training would fail
    assert work(tmp_path, *given) == first


def test_a_state_without_a_checksum_is_taken(
    work: Work, calm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    folder = tmp_path / "old"
    work(folder, *orders(*ROUNDS))
    for number in CONFIGS:
        last = max(
            (folder / trial_file(number, slot) for slot in (0, 1)),
            key=lambda file: from_bytes(file.read_bytes()).step,
        )
        data = last.read_bytes()
        with safetensors.safe_open(last, "pt") as opened:
            metadata = opened.metadata()
        del metadata["checksum"]
        metadata["format"] = "perft-trial-state-2"
        for slot in (0, 1):
            (folder / trial_file(number, slot)).unlink()
        old = safetensors.torch.save(safetensors.torch.load(data), metadata)
        (folder / trial_file(number)).write_bytes(old)
    monkeypatch.setattr(Pack, "_step", None)
    assert work(folder, *orders(*ROUNDS)) == calm[0]
