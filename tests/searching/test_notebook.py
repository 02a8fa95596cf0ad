"""A notebook shows lines as text, and the table in one place that is replaced."""

import threading
from typing import Any

import IPython.display
import pytest
from rich.console import Console
from rich.live import Live
from rich.table import Table

from perft.screen import screen
from perft.searching import notebook
from perft.searching.notebook import NotebookConsole, NotebookLive, html_of, live_on


class Handle:
    """Stands for a display of Jupyter's."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.updated = threading.Event()

    def update(self, page: Any) -> None:
        self.pages.append(page._repr_html_())
        self.updated.set()


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    handle = Handle()

    def display(page: Any, *, display_id: bool) -> Handle:
        assert display_id
        handle.pages.append(page._repr_html_())
        return handle

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(notebook, "UPDATE_SECONDS", 0.01)
    return handle


def test_the_table_is_replaced_and_its_last_state_stays(handle: Handle) -> None:
    shown = ["first"]
    with NotebookLive(lambda: shown[-1]):
        assert handle.updated.wait(10)
        shown.append("last")
    assert "first" in handle.pages[0]
    assert "last" in handle.pages[-1]
    assert not any(each.name.startswith("perft") for each in threading.enumerate())


def test_a_table_is_html_whose_text_is_not_read_as_such() -> None:
    table = Table("trial", box=None)
    table.add_row("<b>7</b>")
    page = html_of(table)
    assert page.startswith("<pre")
    assert "&lt;b&gt;7" in page


def test_a_console_decides_how_it_shows_what_changes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def render() -> str:
        return "table"

    console = NotebookConsole()
    console.print("a line")
    assert capsys.readouterr().out == "a line\n"
    assert isinstance(live_on(console, render), NotebookLive)
    assert live_on(NotebookConsole(quiet=True), render) is None
    assert live_on(screen(), render) is None
    assert isinstance(live_on(Console(force_terminal=True), render), Live)
