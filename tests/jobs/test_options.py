"""Every option of every command refuses what is no value of it: one line, before anything runs."""

import functools
import importlib
import inspect
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer

from perft.__main__ import commands
from perft.cli import run

NEEDED = {
    "search": "--space arithmetic",
    "serve": "--adapter somewhere",
    "merge": "--adapter somewhere --out elsewhere",
    "doctor": "",
    "control": "first list",
    "train": "--space arithmetic --variant perft-s --rank 2",
    "plan": "--space arithmetic",
    "tasks": "--space arithmetic",
    "evaluate": "--adapter somewhere",
    "export": "--name first --out somewhere",
    "pareto": "--name first",
    "simulate": "--name first",
    "study": "bottleneck",
    "compare": "bottleneck first again",
    "sync": "--name first",
}
NO_TEXT = ("", " ", "a\nb", "a\0b", "\x1b[31m", "\udcff", "a" * 5000)
NO_NUMBER = ("x", "1,5", "nan", "inf", "-inf", "1e400", "-1", "-" + "9" * 30)
WRONG = {
    str: NO_TEXT,
    float: (*NO_TEXT, *NO_NUMBER, "1e30"),
    int: (*NO_TEXT, *NO_NUMBER, "1.5", "10**30", "1" + "0" * 30, str(2**64), "9" * 4096),
}


def options() -> Iterator[tuple[str, str, type]]:
    """Command, option and kind of everything that takes a value."""
    for name in commands():
        app = typer.Typer()
        app.command()(importlib.import_module(f"perft.commands.{name}").main)
        for parameter in typer.main.get_command(app).params:
            if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False):
                yield name, parameter.opts[0], _kind(name, str(parameter.name))


def _kind(command: str, parameter: str) -> type:
    main = importlib.import_module(f"perft.commands.{command}").main
    annotation = inspect.signature(main).parameters[parameter].annotation
    annotation = get_args(annotation)[0]  # of Annotated
    kinds = {annotation, *get_args(annotation)}
    return next((kind for kind in (int, float) if kind in kinds), str)


def refusal(command: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    main = importlib.import_module(f"perft.commands.{command}").main

    @functools.wraps(main)
    def never(*_args: Any, **_options: Any) -> None:
        raise AssertionError(f"{command} {args} was run")

    with pytest.raises(SystemExit) as ended:
        run(never, [*NEEDED.get(command, "").split(), *args])
    output, errors = capsys.readouterr()
    assert (ended.value.code, output, errors.count("\n")) == (2, "", 1), errors
    assert errors.startswith("error: ")
    return errors


def test_every_command_is_known_here() -> None:
    assert set(NEEDED) == set(commands())
    assert len(list(options())) > 50


@pytest.mark.parametrize(("command", "option", "kind"), list(options()))
def test_wrong_values_are_refused(command: str, option: str, kind: type, capsys) -> None:
    for value in WRONG[kind]:
        assert option in refusal(command, [f"{option}={value}"], capsys)
    assert "requires an argument" in refusal(command, [option], capsys)


@pytest.mark.parametrize(
    ("command", "option"),
    [("search", "--seed=4294967296"), ("train", "--seed=4294967296"), ("search", "--max-steps=1")],
)
def test_ranges_end_where_they_say(command: str, option: str, capsys) -> None:
    assert option.partition("=")[0] in refusal(command, [option], capsys)


@pytest.mark.parametrize("slots", ["0", "-1", "x", "1.5", "1001", "1" + "0" * 30, "²", "AUTO"])
def test_slots_are_a_number_or_auto(slots: str, capsys) -> None:
    main = importlib.import_module("perft.commands.search").main
    with pytest.raises(SystemExit) as ended:
        run(main, ["--space", "arithmetic", "--slots", slots])
    assert ended.value.code == 2
    assert "'--slots'" in capsys.readouterr().err
