"""A search's progress in a notebook: lines of text, and one table that is replaced in place.

Jupyter shows every print of rich's own console as an output of its own, and rich's live table needs
ipywidgets. A display that is updated needs neither.
"""

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from rich.console import Console, RenderableType
from rich.live import Live

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

WIDTH = 110
"""Columns of a cell's output."""

UPDATE_SECONDS = 1.0

_PAGE = '<pre style="white-space: pre; overflow-x: auto; line-height: normal">{code}</pre>'


class NotebookConsole(Console):
    """Prints lines to the output of the cell that runs."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(
            force_jupyter=False,
            force_terminal=False,
            width=WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
            quiet=quiet,
        )


class NotebookLive:
    """Shows what changes in one place of the cell's output, inside a `with` block.

    Args:
        render: returns what is to be shown now.
    """

    def __init__(self, render: Callable[[], RenderableType]) -> None:
        self._render = render
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._update, daemon=True)

    def __enter__(self) -> Self:
        from IPython.display import display  # noqa: PLC0415 - there is one in a notebook alone

        self._handle: DisplayHandle = display(self._page(), display_id=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._handle.update(self._page())

    def _update(self) -> None:
        while not self._ended.wait(UPDATE_SECONDS):
            self._handle.update(self._page())

    def _page(self) -> "Page":
        return Page(html_of(self._render()))


class Page:
    """HTML as IPython displays it."""

    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html


def html_of(renderable: RenderableType) -> str:
    """What rich shows, as HTML of `WIDTH` columns."""
    console = Console(
        file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False, force_terminal=True
    )
    console.print(renderable)
    return console.export_html(inline_styles=True, code_format=_PAGE)


def live_on(console: Console, render: Callable[[], RenderableType]) -> Live | NotebookLive | None:
    """What shows a table that changes on a console; None in a log, which has lines alone.

    Args:
        console: a terminal's, a notebook's or another one.
        render: returns the table as it is now.
    """
    if isinstance(console, NotebookConsole):
        return None if console.quiet else NotebookLive(render)
    if not console.is_terminal or console.is_dumb_terminal or console.quiet:
        return None
    return Live(
        get_renderable=render,
        console=console,
        screen=True,
        refresh_per_second=2,
        redirect_stdout=False,
        redirect_stderr=False,
    )
