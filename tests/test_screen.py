"""Tables are printed whole however narrow the screen, and names are taken for no markup."""

import contextlib
import io
import sys

import pytest
from rich.console import Console

from perft.screen import Output, print_table, screen
from perft.selection import front_table
from pretend import search_of_six, trial


def printed(width: int, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True)
    print_table(console, front_table([*search_of_six(), trial(7, activated=123_456_789)]))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [1, 20, 80, 300])
@pytest.mark.parametrize("terminal", [True, False])
def test_no_cell_is_cut(width: int, terminal: bool) -> None:
    text = printed(width, terminal=terminal)
    assert "…" not in text
    for cell in ("85.0% (81.2-88.2)", "40,000", "2%", "00000000"):
        assert cell in text


def test_a_file_has_one_line_for_each_row() -> None:
    assert "lora-qv r8 lr 0.005" in printed(10, terminal=False)


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    screen().print("[red]x[/blue] [/] :smile:")
    assert capsys.readouterr().out == "[red]x[/blue] [/] :smile:\n"


def test_lines_keep_their_stream_while_a_thread_prints_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    people, program = Output(), Output(as_json=True)
    with contextlib.redirect_stdout(sys.stderr):  # as around a space's own code
        people.say("a line")
        people.last("the last")
        program.event("stage", text="one")
        program.document({"result": 1})
    found = capsys.readouterr()
    assert found.err == ""
    assert found.out.startswith('a line\nthe last\n{"event": "stage", "text": "one"}\n')
