"""Every command has `--json` and `--quiet`, help with examples that parse, and keeps their word."""

import importlib
import inspect
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from calling import Done, call, write_data

from perft.__main__ import commands
from perft.checkpoint import save_adapter
from perft.cli import program_of
from perft.config import LoraQVConfig
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.packing.messages import Scored
from perft.search_folder import trial_record
from perft.searching.prepare import SearchRequest, prepare
from perft.searching.run import Finished
from perft.searching.stages import Stages
from perft.selection import result_line, write_base, write_results, write_scores
from perft.storage import Storage
from perft.tracking.records import TrialRecord
from pretend import BASE, search_of_six, store_adapters
from studies.planted import trained

REPOSITORY = Path(__file__).parents[2]
PLANTED = """
from perft import SearchSpace
from studies.planted import CURVES

SPACE = SearchSpace.of_study("arithmetic", CURVES)
"""
SERVERS = {"serve"}
"""Commands that go on until they are stopped."""


def main_of(command: str):
    return importlib.import_module(f"perft.commands.{command}").main


def examples() -> Iterator[tuple[str, str]]:
    """Every example of every command's help."""
    for command in commands():
        help_text = inspect.getdoc(main_of(command)) or ""
        for line in help_text.partition("\nExamples:\n")[2].splitlines():
            yield command, line.strip()


@pytest.mark.parametrize("command", commands())
def test_every_command_has_both_options_and_examples(command: str) -> None:
    done = call(command, "--help")
    assert done.status == 0
    if command not in SERVERS:
        assert re.search(r"^  --json +Print JSON, and nothing else", done.output, re.M)
        assert re.search(r"^  --quiet +Print the last line", done.output, re.M)
    mine = [line for name, line in examples() if name == command]
    assert len(mine) > 1
    assert done.output.rstrip().endswith("  Examples:\n    " + "\n    ".join(mine)), "at the end"


@pytest.mark.parametrize(("command", "line"), list(examples()))
def test_every_example_parses(command: str, line: str) -> None:
    program, name, *args = shlex.split(line)
    assert (program, name) == ("perft", command)
    assert len(line) < 78, "it fits a terminal, indented"
    program_of(main_of(command)).make_context(line, args)  # raises where it does not


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a search that has ended, and beside it data and an adapter trained on them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFT_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_data(home / "data")
        request = SearchRequest(
            space="arithmetic", name="first", data=str(home / "data"), tracker="folder",
            num_trials=6, validation_size=4, groups=1, slots=4,
        )  # fmt: skip
        plan = prepare(request)
        plan.settings.write(plan.search)
        _fill(plan.search)
        _run_study(home, ("once", "again"))
        host = AdapterHost(load_base().model)
        host.add("lora", LoraQVConfig(rank=2))
        save_adapter(host, "lora", home / "lora")
        yield home


def _run_study(home: Path, names: Sequence[str]) -> None:
    (home / "planted.py").write_text(PLANTED)
    for draw, name in enumerate(names):
        plan = prepare(SearchRequest(space=str(home / "planted.py"), name=name, validation_size=4))
        plan.settings.write(plan.search)
        write_results(
            plan.search, map(result_line, trained(lambda width, _: width / 20, draw=draw))
        )


def _fill(search: Storage) -> None:
    store_adapters(search, results := search_of_six())
    write_results(search, map(result_line, results))
    write_scores(search, {3: {"AddSub": (1, 3)}})
    write_base(search, BASE)
    for each in results:
        at = tuple((1000 * one.step, one) for one in each.reports)
        record = TrialRecord(
            number=each.number, config=each.config, started=0, size=each.size, reports=at,
            outcome=each.outcome, ended=1,
        )  # fmt: skip
        search.write(trial_record(each.number), json.dumps(record.to_json()).encode())


ENDING = {
    "compare": "{home}/planted.py once again",
    "control": "first list",
    "doctor": "",
    "evaluate": "--adapter {home}/adapter",
    "export": "--name first --out {out}",
    "merge": "--adapter {home}/lora --base-model built-in --out {out}",
    "pareto": "--name first",
    "plan": "--space arithmetic --seconds-per-step 0.4",
    "simulate": "--name first --repeats 2 --groups 1 --slots 4",
    "sync": "--name first",
    "tasks": "--space arithmetic",
}
"""Commands that print one document."""

TRAIN = "--space arithmetic --variant perft-s --rank 2 --max-steps 8 --validation-size 4"


def called(command: str, place: Path, tmp_path: Path, *more: str) -> Done:
    line = ENDING[command].format(home=place, out=tmp_path / "out")
    return call(command, *line.split(), *more)


def test_training_streams_events(place: Path) -> None:
    args = (*TRAIN.split(), "--data", str(place / "data"), "--out", str(place / "adapter"))
    done = call("train", *args, "--json")
    assert (done.status, done.errors) == (0, "")
    events = [json.loads(line) for line in done.output.splitlines()]
    assert [event["event"] for event in events] == ["start", *["report"] * 4, "test", "end"]
    assert [event["step"] for event in events[1:5]] == [1, 2, 4, 8]
    assert events[-1]["folder"] == str(place / "adapter")


@pytest.mark.parametrize("command", ENDING)
def test_json_is_one_document_and_nothing_else(command: str, place: Path, tmp_path: Path) -> None:
    done = called(command, place, tmp_path, "--json")
    assert (done.status, done.errors) == (0, "")
    assert set(json.loads(done.output)) == documented()[command]


def documented() -> dict[str, set[str]]:
    """By command, the fields that the document of JSON output promises."""
    text = (REPOSITORY / "docs" / "json.md").read_text()
    rows = re.findall(r"^\| `(\w+)(?: NAME list)?` \| ([^|(;]+(?:\([^)]*\)[^|(;]*)*)", text, re.M)
    without_parts = ((name, re.sub(r"\([^)]*\)", "", fields)) for name, fields in rows)
    return {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in without_parts}


def test_every_event_is_documented() -> None:
    code = "".join(file.read_text() for file in (REPOSITORY / "perft").rglob("*.py"))
    kinds = set(re.findall(r"\b_?event\(\s*\"(\w+)\"", code))
    text = (REPOSITORY / "docs" / "json.md").read_text()
    rows = re.findall(r"^\| `(?:search|train|serve)` \| ([`\w, ]+) \|", text, re.M)
    assert kinds == set(re.findall(r"`(\w+)`", " ".join(rows)))


@pytest.mark.parametrize("command", ENDING)
def test_quiet_is_the_last_line(command: str, place: Path, tmp_path: Path) -> None:
    whole = called(command, place, tmp_path)
    quiet = called(command, place, tmp_path / "again", "--quiet")
    assert (whole.status, quiet.status, quiet.errors) == (0, 0, "")
    assert quiet.output.count("\n") == 1
    last = whole.output.splitlines()[-1].replace(str(tmp_path), str(tmp_path / "again"))
    assert quiet.output.rstrip() == last
    assert whole.output.count("\n") > 1 or command == "export"


@pytest.fixture
def searched(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Calls `perft search` with a search of six trials in place of one that trains."""
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))

    def run_search(plan: Any, stages: Stages, *_more: Any, **_options: Any) -> Finished:
        _fill(plan.search)
        for text in ("starting a Ray of the search's own", "training"):
            stages.say(text)
        return Finished(search_of_six(), Scored(base=BASE), "")

    monkeypatch.setattr("perft.searching.run.run_search", run_search)
    args = ("--space", "arithmetic", "--name", "first", "--tracker", "folder")
    return lambda *more: call("search", *args, "--data", str(place / "data"), *more)


def test_a_search_streams_events_and_ends_with_its_front(searched) -> None:
    done = searched("--json", "--validation-size", "4")
    assert (done.status, done.errors) == (0, "")
    *events, end = (json.loads(line) for line in done.output.splitlines())
    assert {event["event"] for event in events} == {"stage"}
    assert [event["seconds"] for event in events] == sorted(event["seconds"] for event in events)
    assert "training" in [event["text"] for event in events]
    assert (end["event"], end["search"], end["best"]) == ("end", "first", 3)
    assert [trial["number"] for trial in end["front"]] == [0, 1, 3]
    assert end["trials"] == {"complete": 4, "pruned": 1, "failed": 1}


def test_a_quiet_search_says_its_best_trial(searched) -> None:
    done = searched("--quiet", "--validation-size", "4")
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith("search first, best: trial 3, accuracy 85.0% (81.2-88.2), ")
    assert done.output.count("\n") == 1


def test_every_command_that_ends_is_tried_here() -> None:
    assert {*ENDING, "search", "study", "train"} == set(commands()) - SERVERS


def test_quiet_errors_are_still_said(place: Path) -> None:
    for option in ("--quiet", "--json"):
        done = call("pareto", "--name", "none", option)
        assert "unknown search 'none'" in done.refusal
        assert done.output == ""
