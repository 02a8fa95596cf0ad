"""Completes what a tracker shows of a search: it was unavailable, or the search had another one."""

from typing import Annotated

import typer

from perft.errors import StorageError
from perft.masking import masked
from perft.options import JsonOption, NameOption, QuietOption, StorageOption
from perft.screen import Output
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.searching.sync import sync
from perft.tracking import tracker_of


def main(
    *,
    name: NameOption,
    storage: StorageOption = None,
    tracker: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where to: mlflow or folder.", show_default="the search's own"
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Send a tracker what it lacks of a search, from the search's own records.

    Sending twice duplicates nothing. The runs of a search that was killed are ended. Runs go to the
    MLflow that the search recorded them in, or to MLFLOW_TRACKING_URI.

    Examples:
      perft sync --name first
      perft sync --name first --tracker folder
    """
    output = Output(as_json=as_json, quiet=quiet)
    search = find_search(name, storage)
    settings = SearchSettings.read(search)
    own, to = tracker_of(settings.tracker), tracker_of(tracker or settings.tracker)
    uri = to.known_place(settings.tracking_uri if to is own else "", name)
    with output.progress.status(f"sending {to.title} what it lacks"):
        is_complete = sync(search, settings, to, uri, output.say)
    if not is_complete:
        raise StorageError(f"the runs of search {name!r} are not complete yet")
    look = masked(to.where_to_look(uri, search.shown))
    output.document({"search": name, "tracker": tracker or settings.tracker, "look": look})
    output.say(f"look:    {look}")
    output.last(f"{to.title} has all of search {name}")
