"""Completes a tracker's runs of a search from the records in its folder."""

import dataclasses
from collections.abc import Callable

from perft.invocation import command_line
from perft.searches import name_options
from perft.searching.drawing import draw
from perft.searching.lock import locked
from perft.searching.settings import SearchSettings
from perft.selection import read_base, read_results, result_line, write_results
from perft.storage import Storage
from perft.tracking import Recorder, Tracker, Tracking

PATIENCE_SECONDS = 120.0
"""Time without a successful send after which the command gives up."""


def sync(
    search: Storage,
    settings: SearchSettings,
    tracker: Tracker,
    tracking_uri: str,
    tell: Callable[[str], None],
) -> bool:
    """Sends the records that the tracker lacks; leaves those that it has.

    Runs of a search that did not end become KILLED.

    Args:
        search: the search's folder.
        settings: its settings.
        tracker: the tracker.
        tracking_uri: where the tracker keeps its runs.
        tell: shows the user a line.

    Returns:
        Whether the tracker has all records.

    Raises:
        SearchError: if a process runs the search: it sends everything itself.
        StorageError: if the tracker or the folder cannot be written.
    """
    with locked(search, settings.name):
        recorder = Recorder.catch_up(tracking_of(search, settings, tracker, tracking_uri, tell))
        if recorder.wait(PATIENCE_SECONDS):
            _name_runs(search, settings, recorder)
        return recorder.close(PATIENCE_SECONDS)


def tracking_of(
    search: Storage,
    settings: SearchSettings,
    tracker: Tracker,
    tracking_uri: str,
    tell: Callable[[str], None],
) -> Tracking:
    """The tracking of a search; arguments of `sync`, which is the command for later."""
    return Tracking(
        tracker=tracker,
        place=tracking_uri,
        folder=search,
        name=settings.name,
        params=settings.to_json(),
        tell=tell,
        later=lambda: command_line(
            "sync", *name_options("--name", settings.name, settings.storage)
        ),
    )


def _name_runs(search: Storage, settings: SearchSettings, recorder: Recorder) -> None:
    """Writes the trials' run ids into the search's results, table and plots."""
    results = read_results(search)
    named = [
        dataclasses.replace(result, run_id=recorder.run_id(result.number) or result.run_id)
        for result in results
    ]
    if named != results:
        write_results(search, map(result_line, named))
        draw(search, settings, named, read_base(search))
        recorder.send_files()
