"""Completes what a tracker shows of a search: it was unavailable, or the search had another one."""

import functools
from typing import Annotated

import typer
from rich.console import Console

from perft.errors import StorageError
from perft.options import StorageOption
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.searching.sync import sync
from perft.tracking import tracker_of


def main(
    *,
    name: Annotated[str, typer.Option(help="Name of the search.")],
    storage: StorageOption = None,
    tracker: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where to: mlflow or folder.", show_default="the search's own"
        ),
    ] = None,
) -> None:
    """Send a tracker what it lacks of a search, from the search's own records.

    Sending twice duplicates nothing. The runs of a search that was killed are ended. Runs go to the
    MLflow that the search recorded them in, or to MLFLOW_TRACKING_URI.
    """
    console = Console(soft_wrap=True)
    tell = functools.partial(console.print, highlight=False, markup=False)
    search = find_search(name, storage)
    settings = SearchSettings.read(search)
    own, to = tracker_of(settings.tracker), tracker_of(tracker or settings.tracker)
    uri = to.known_place(settings.tracking_uri if to is own else "", name)
    with console.status(f"sending {to.title} what it lacks"):
        is_complete = sync(search, settings, to, uri, tell)
    if not is_complete:
        raise StorageError(f"the runs of search {name!r} are not complete yet")
    tell(f"{to.title} has all of search {name}\nlook:    {to.where_to_look(uri, search.shown)}")
