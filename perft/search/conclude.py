"""The end of a search: what is written to its folder and logged with its parent run."""

import contextlib
import importlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from perft.errors import PerftError
from perft.home import home
from perft.packing.places import PREDICTIONS, trial_folder
from perft.search.prepare import Prepared
from perft.selection import pareto_front, write_scores
from perft.storage import read_folder, seal_folder
from perft.trial import TrialResult

if TYPE_CHECKING:
    from perft.tracking import Tracker

Scores = Mapping[int, Mapping[str, tuple[int, int]]]
"""Correct and scored examples by trial and test split."""


def import_drawing() -> None:
    """Imports what the table and the plots take: two seconds, best spent while Ray starts."""
    # Where matplotlib keeps its list of fonts; by default in the user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(home() / "matplotlib"))
    import scipy.stats  # type: ignore[import-untyped]  # noqa: F401, PLC0415

    import perft.selection.files  # noqa: F401, PLC0415


def conclude(
    prepared: Prepared, results: list[TrialResult], tracker: "Tracker", scores: Scores
) -> None:
    """Ends Ray, writes the test scores and what is to be looked at, and ends the parent run.

    Args:
        prepared: the search.
        results: all of its trials.
        tracker: where its runs are.
        scores: test scores of the chosen trials.

    Raises:
        StorageError: if storage or tracking cannot be written.
    """
    with ThreadPoolExecutor() as pool:  # to end Ray's processes takes as long, and only waits
        drawing = pool.submit(_files, prepared, results)
        ray.shutdown()
        files = drawing.result()
    for number, splits in scores.items():
        folder = f"{PREDICTIONS}/{trial_folder(number)}"
        predictions = read_folder(prepared.search, folder)
        seal_folder(prepared.search, folder, predictions)
        tracker.log_scores(number, splits, predictions)
    front = _front(results)
    tracker.finish(front=front, files=files, failed=not front)
    if front:  # the last of all: where they are, nothing is left to do
        write_scores(prepared.search, scores)


def conclude_failed(prepared: Prepared, results: list[TrialResult], tracker: "Tracker") -> None:
    """Keeps what there is of a search that goes no further, and ends the parent run.

    Raises:
        StorageError: if tracking cannot be written.
    """
    files: dict[str, bytes] = {}
    with contextlib.suppress(PerftError):  # the storage may be what it failed of
        files = _files(prepared, results)
    tracker.finish(front=_front(results), files=files, failed=True)


def _front(results: list[TrialResult]) -> set[int]:
    return {trial.number for trial in pareto_front(results)}


def _files(prepared: Prepared, results: list[TrialResult]) -> dict[str, bytes]:
    """What is kept of a search to look at, in its folder and with its parent run."""
    from perft.selection.files import result_files  # noqa: PLC0415 - plotting is slow to import
    from perft.tracking import environment  # noqa: PLC0415

    settings = prepared.settings
    space = importlib.import_module(prepared.draw.space.suggest.__module__).__file__
    files = {"environment.txt": environment().encode()}
    if space is not None:
        files["space.py"] = Path(space).read_bytes()
    if any(result.outcome == "complete" for result in results):
        files |= result_files(results, f"{settings.name}: {settings.task}")
    for name, data in files.items():
        prepared.search.write(name, data)
    return files
