"""Completes a search's runs in MLflow after MLflow was unavailable."""

import functools
from typing import Annotated

import typer
from rich.console import Console

from perft.errors import StorageError
from perft.options import StorageOption
from perft.search.settings import SearchSettings, tracking_uri_of
from perft.search.sync import sync
from perft.searches import find_search
from perft.tracking import where_to_look


def main(
    *,
    name: Annotated[str, typer.Option(help="Name of the search.")],
    storage: StorageOption = None,
) -> None:
    """Send MLflow what it lacks of a search, from the search's own records.

    Sending twice duplicates nothing. The runs of a search that was killed are ended. Runs go to the
    MLflow that the search recorded them in, or to MLFLOW_TRACKING_URI.
    """
    console = Console(soft_wrap=True)
    tell = functools.partial(console.print, highlight=False, markup=False)
    search = find_search(name, storage)
    settings = SearchSettings.read(search)
    uri = tracking_uri_of(settings)
    with console.status("sending MLflow what it lacks"):
        is_complete = sync(search, settings, uri, tell)
    if not is_complete:
        raise StorageError(f"the runs of search {name!r} are not complete yet")
    tell(f"MLflow has all of search {name}\nlook:    {where_to_look(uri)}")
