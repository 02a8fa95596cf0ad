"""Commands called with wrong values: they refuse in one line, or would start what they are for."""

import importlib
import json
import os
from pathlib import Path
from random import Random

import pytest
import typer
from faults import breaks

from jobs.calling import call, write_data
from perft.errors import SearchError
from perft.searching import run as search_run
from perft.selection import result_line, write_results, write_scores
from perft.storage import Storage
from pretend import SETTINGS, search_of_six, store_adapters

COMMANDS = {
    "search": ["--space", "arithmetic"],
    "train": ["--space", "arithmetic", "--variant", "perft-s", "--rank", "2"],
    "plan": ["--space", "arithmetic"],
    "pareto": ["--name", "first"],
    "export": ["--name", "first", "--out", "out"],
    "evaluate": ["--adapter", "out"],
}
WRONG = (
    "", " ", "x", "0", "-1", "1", "2", "1e3", "1.5", "nan", "inf", "-inf", "true", "None",
    "4294967296", "1%", "[]", "{}", "\ud800", "\x00", "a\nb", "\x1b[31m", "[/red]", "é" * 300,
    "10" * 30, "folder",
    "x" * 5000, ".", "..", "../..", "~nobody/x", "/dev/null", "/dev/zero/x", "loop", "pipe",
    "hub", "s3://", "file:///nowhere", "http://user:secret@host", "gs://user:secret@b", "org/name",
    "--", "--help", "--resume", "first", "perft-r", "lora-qv", "all", "last:0", "every:2", "auto",
    "float64", "boolq", "mine.py", "likelihood",
)  # fmt: skip
FAST = 6
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]


class StoppedError(SearchError):
    """In the place of the workers: what was asked for was taken."""


def stop(*_args: object, **_options: object) -> None:
    raise StoppedError("taken")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a search, data, and things in the way; nothing starts workers."""
    here = tmp_path / "deep" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(search_run, "run_search", stop)
    monkeypatch.setattr("perft.commands.train._train", stop)
    monkeypatch.setattr("perft.commands.evaluate._predict", stop)
    search = Storage(str(tmp_path / "home" / "searches" / "first"))
    search.write("search.json", json.dumps(SETTINGS).encode())
    store_adapters(search, search_of_six())
    write_results(search, map(result_line, search_of_six()))
    write_scores(search, {3: {"addsub": (12, 395)}})
    (here / "loop").symlink_to("loop")
    os.mkfifo(here / "pipe")
    (here / "folder").mkdir()
    (here / "mine.py").write_text("SPACE = 7\n")
    write_data(here / "data")
    return here


def options_of(command: str) -> list[typer.core.TyperOption]:
    app = typer.Typer()
    app.command()(importlib.import_module(f"perft.commands.{command}").main)
    return [each for each in typer.main.get_command(app).params if each.opts[0] != "--help"]


def lines(command: str, seed: int, count: int) -> list[list[str]]:
    """Command lines in which one, two or three options have a wrong value."""
    random = Random(f"{command} {seed}")
    options = options_of(command)
    found = []
    for _ in range(count):
        line = list(COMMANDS[command])
        for option in random.sample(options, random.randint(1, 3)):
            name = random.choice([*option.opts, *option.secondary_opts])
            line += [name] if option.is_flag else [name, random.choice(WRONG)]
        found.append(line)
    return found


@pytest.mark.timeout(280)
@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("seed", SEEDS)
def test_no_command_line_ends_in_a_traceback(place: Path, command: str, seed: int) -> None:
    refused = 0
    for line in lines(command, seed, FAST if seed == 0 else 16 * FAST):
        done = call(command, *line)
        said = [part for part in done.errors.splitlines() if not part.startswith("note: ")]
        assert done.status in (0, 2), (line, done)
        assert "Traceback" not in done.errors + done.output, (line, done)
        assert "secret" not in done.errors + done.output, (line, done)
        assert "\x1b" not in done.errors + done.output, (line, done)
        refused += done.status == 2
        if done.status == 2:
            assert len(said) == 1, (line, done)
            assert said[0].startswith("error: "), (line, done)
            assert len(said[0]) < 3100, (line, done)
    assert refused


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("search", "--storage"), ("search", "--space"), ("search", "--data"),
        ("search", "--base-model"), ("train", "--out"), ("train", "--data"), ("plan", "--space"),
        ("plan", "--base-model"), ("pareto", "--storage"), ("export", "--out"),
        ("evaluate", "--adapter"), ("evaluate", "--data"), ("evaluate", "--out"),
    ],
)  # fmt: skip
def test_a_path_that_is_none_is_named(place: Path, command: str, option: str) -> None:
    for bad in ("loop", "loop/x.py", "~nobody-here/x.py", "pipe/x", "x" * 300, "mine.py/x"):
        done = call(command, *COMMANDS[command], option, bad)
        assert done.status == 2, (bad, done)
        assert done.errors.startswith("error: "), (bad, done)
        assert done.errors.count("\n") == 1, (bad, done)


@pytest.mark.parametrize("command", ["pareto", "export"])
@pytest.mark.parametrize("how", sorted(breaks()))
def test_a_broken_search_ends_no_command_in_a_traceback(
    place: Path, command: str, how: str
) -> None:
    for name in ("search.json", "results.json", "scores.json"):
        breaks()[how](place.parents[1] / "home" / "searches" / "first" / name)
        done = call(command, *COMMANDS[command])
        assert done.status in (0, 2), (name, done)
        assert done.errors.count("\n") == (done.status == 2), (name, done)
