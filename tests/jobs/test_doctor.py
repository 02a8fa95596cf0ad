"""`perft doctor`: what it prints, and its exit status."""

import json

import pytest
from calling import call

from perft.doctor.finding import Finding, missing, ok, warning

FOUND = [
    ok("Python", "3.11.7"),
    warning("disk", "5.0 GB free", "free some"),
    missing("MLflow", "http://ann:secret@host answers 401", "set a login"),
]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    pretended = list(FOUND)
    monkeypatch.setattr("perft.doctor.examine", lambda: pretended)
    return pretended


def test_every_line_is_shown_with_what_to_do(found: list[Finding]) -> None:
    done = call("doctor")
    assert (done.status, done.errors) == (1, "")
    lines = [line.rstrip().split(maxsplit=2) for line in done.output.splitlines()]
    assert lines == [
        ["ok", "Python", "3.11.7"],
        ["warning", "disk", "5.0 GB free"],
        ["->", "free", "some"],
        ["missing", "MLflow", "http://***@host answers 401"],
        ["->", "set", "a login"],
        ["1", "ok,", "1 warning, 1 missing"],
    ]


def test_only_what_is_missing_fails(found: list[Finding]) -> None:
    del found[2]
    assert call("doctor").status == 0
    assert call("doctor", "--quiet").output == "1 ok, 1 warning, 0 missing\n"


def test_programs_get_all(found: list[Finding]) -> None:
    said = json.loads(call("doctor", "--json").output)
    assert said["ready"] is False
    assert said["findings"] == [each.to_json() for each in FOUND]


def test_a_narrow_terminal_wraps_and_cuts_nothing(
    found: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    found[:] = [warning("disk", "word " * 30, "advice " * 20)]
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = call("doctor").output
    assert said.count("word") == 30
    assert said.count("advice") == 20
    assert max(map(len, said.splitlines())) <= 60 + len("\x1b[33m\x1b[0m")
