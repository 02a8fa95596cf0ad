"""Adapter folders and trial states with something wrong: put on a base, or refused."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import breaks, cases
from safetensors.torch import load, save
from verdict import Verdicts, refusal, working

from checkpoint.test_trial_state import state
from perft.adapter_folder import read_settings
from perft.adapters.routing import RouterSums
from perft.checkpoint import from_bytes, read_adapter, to_bytes
from perft.checkpoint.adapter import adapter_files
from perft.config import AdapterConfig, LoraExpertsConfig, LoraQVConfig, RoutedConfig
from perft.home import remember_place, remembered_place
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.tasks import OwnTask, TaskSource, from_record, load_task, to_record, without_code

FAST = 150
PRINT = "d" * 64
ADAPTERS: dict[str, AdapterConfig] = {
    "perft": RoutedConfig(rank=2, num_experts=2, top_k=1),
    "lora": LoraQVConfig(rank=2),
    "experts": LoraExpertsConfig(rank=2, layers="0"),
}
ROWS = "\n".join(json.dumps({"q": f"{i}?", "a": str(i)}) for i in range(20))


@pytest.fixture(scope="module")
def host() -> AdapterHost:
    return AdapterHost(load_base().model)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with working(folder):
        yield folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, host: AdapterHost) -> Path:
    """An adapter folder of each kind, trained on an own task whose files lie beside."""
    root = tmp_path_factory.mktemp("made")
    (root / "train.jsonl").write_text(ROWS)
    own = OwnTask(
        name="mine", train=root / "train.jsonl", prompt="{q}", answer="a", scorer="exact",
        completion=" {a}.",
    )  # fmt: skip
    record = to_record(TaskSource(name="mine", validation_size=4, own=own.to_json()), PRINT)
    for name, config in ADAPTERS.items():
        host.add(name, config)
        files = adapter_files(
            config, host.tensors(name), base=None, fingerprint=PRINT, trained_on=record
        )
        host.remove(name)
        (root / name).mkdir()
        for file, data in files.items():
            (root / name / file).write_bytes(data)
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(made / kind, tmp_path / kind))


def use(host: AdapterHost, folder: Path, root: Path | None) -> None:
    """As `jobs/evaluate.py` uses a folder."""
    settings = read_settings(folder)
    block = settings["perft"]
    remembered_place(str(block.get("base_fingerprint")))
    if (record := block.get("trained_on")) is not None:
        load_task(without_code(from_record(record, root, folder)))
    config, tensors, _ = read_adapter(folder)
    host.load("fuzzed", config, tensors)
    host.remove("fuzzed")


def json_files() -> list[tuple[str, str]]:
    return [
        ("perft", "adapter_config.json"),
        ("lora", "adapter_config.json"), ("lora", "perft.json"),
        ("experts", "adapter_config.json"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_the_whole_ones_are_used(host: AdapterHost, made: Path, kind: str) -> None:
    assert refusal(lambda: use(host, made / kind, made)) == ""


@pytest.mark.parametrize(("kind", "name"), json_files())
@pytest.mark.parametrize("count", [FAST, pytest.param(None, marks=pytest.mark.slow)])
def test_no_field_of_a_folder_is_taken_for_what_it_is_not(
    host: AdapterHost, made: Path, folder: Any, kind: str, name: str, count: int | None
) -> None:
    damaged = folder(kind)
    document = json.loads((damaged / name).read_text())
    verdicts = Verdicts()
    names = f"{kind}|train.jsonl|dataset|unknown task"  # what an own task names is its data
    for case in cases(document, 1, count):
        (damaged / name).write_text(case.text)
        verdicts.judge(f"{kind}/{name}: {case.what}", lambda: use(host, damaged, made), names)
    verdicts.conclude(least=5)


@pytest.mark.parametrize(("kind", "name"), [*json_files(), ("perft", "adapter_model.safetensors")])
@pytest.mark.parametrize("how", sorted(breaks()))
def test_a_broken_file_of_a_folder_is_refused(
    host: AdapterHost, made: Path, folder: Any, kind: str, name: str, how: str
) -> None:
    damaged = folder(kind)
    breaks()[how](damaged / name)
    said = refusal(lambda: use(host, damaged, made))
    may_be_whole = how == "unreadable" or (how == "cut at its end" and name.endswith(".json"))
    assert name in said or may_be_whole


@pytest.mark.parametrize("count", [FAST, pytest.param(None, marks=pytest.mark.slow)])
def test_no_header_of_weights_is_taken_for_what_it_is_not(
    host: AdapterHost, made: Path, folder: Any, count: int | None
) -> None:
    damaged = folder("perft")
    file = damaged / "adapter_model.safetensors"
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    verdicts = Verdicts()
    for case in cases(json.loads(data[8 : 8 + size]), 2, count):
        header = case.text.encode()
        file.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])
        verdicts.judge(f"header: {case.what}", lambda: use(host, damaged, made))
    for length in (0, 1, 2**20, 2**40, 2**63, 2**64 - 1):
        file.write_bytes(struct.pack("<Q", length) + data[8:])
        verdicts.judge(f"a header of {length} bytes", lambda: use(host, damaged, made), "damaged")
    verdicts.conclude(least=40)


@pytest.mark.parametrize("change", ["int", "nan", "half", "shape", "more", "fewer"])
def test_weights_of_another_kind(host: AdapterHost, made: Path, folder: Any, change: str) -> None:
    damaged = folder("perft")
    file = damaged / "adapter_model.safetensors"
    tensors = load(file.read_bytes())
    first = next(iter(tensors))
    changes = {
        "int": lambda t: t.to(torch.int64),
        "nan": lambda t: torch.full_like(t, torch.nan),
        "half": lambda t: t.half(),
        "shape": lambda t: t.flatten(),
    }
    if change == "more":
        tensors["base_model.model.more"] = torch.zeros(3)
    elif change == "fewer":
        del tensors[first]
    else:
        tensors[first] = changes[change](tensors[first])
    file.write_bytes(save(tensors, {"format": "pt"}))
    said = refusal(lambda: use(host, damaged, made))
    assert bool(said) == (change != "half"), said


@pytest.mark.parametrize("count", [FAST, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["config", "reports", "progress", "header"])
def test_no_field_of_a_state_is_taken_for_what_it_is_not(part: str, count: int | None) -> None:
    data = to_bytes(state())
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    # As an earlier version wrote it: a checksum would be wrong before anything else is.
    del header["__metadata__"]["checksum"]
    header["__metadata__"]["format"] = "perft-trial-state-2"
    document = header if part == "header" else json.loads(header["__metadata__"][part])
    verdicts = Verdicts()
    for case in cases(document, 3, count):
        if part == "header":
            text = case.text
        else:
            metadata = header["__metadata__"] | {part: case.text}
            text = json.dumps({**header, "__metadata__": metadata})
        changed = struct.pack("<Q", len(text.encode())) + text.encode() + data[8 + size :]
        field = () if part == "header" else (case.field,)
        verdicts.judge(f"{part}: {case.what}", lambda data=changed: _go_on(data), *field)
    verdicts.conclude(least=10)


def _go_on(data: bytes) -> None:
    found = from_bytes(data)
    json.dumps([found.config.to_flat(), [report.to_json() for report in found.reports]])
    sums = found.progress.routing
    found.progress.add(1.0, 3, 0.5, sums)
    assert sums is None or isinstance(sums, RouterSums)
    assert to_bytes(found)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\xff\xfe", b"x" * 10**6, b"~nobody/x", b"a" * 5000]
)
def test_a_note_of_a_place_that_is_none_is_passed_over(home: Path, content: bytes) -> None:
    remember_place(PRINT, home)
    assert remembered_place(PRINT) == home
    (home / "places" / PRINT).write_bytes(content)
    assert remembered_place(PRINT) is None


@pytest.mark.parametrize("how", sorted(set(breaks()) - {"unreadable"}))
def test_a_broken_note_of_a_place_is_passed_over(home: Path, how: str) -> None:
    note = home / "places" / PRINT
    if note.is_dir() and not note.is_symlink():
        note.rmdir()
    note.unlink(missing_ok=True)
    remember_place(PRINT, home)
    breaks()[how](note)
    assert remembered_place(PRINT) in (None, home.parent)
