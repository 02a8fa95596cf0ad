"""The files of a search that say how its trials ended.

`results.json` holds every ended trial and is replaced as a whole, so a reader sees a state that
was true; `scores.json` holds what the chosen adapters scored on the test splits.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from perft.errors import DamagedError, PerftError, SearchError, unknown
from perft.storage import Storage
from perft.trial import TrialResult

SETTINGS, RESULTS, SCORES = "search.json", "results.json", "scores.json"

# Correct and scored examples by the name of a test split.
Scores = Mapping[str, tuple[int, int]]


def find_search(storage: str, name: str) -> Storage:
    """The folder of the search `name` in `storage`, a directory or a URI.

    Raises:
        SearchError: when there is none; names the nearest and all others.
        StorageError: when `storage` cannot be read.
    """
    root = Storage(storage)
    if name not in ("", ".", "..") and "/" not in name and root.exists(f"{name}/{SETTINGS}"):
        return root.child(name)
    names = [found for found in root.names() if root.exists(f"{found}/{SETTINGS}")]
    if names:
        raise SearchError(f"{unknown('search', name, names)} in {root.shown}")
    raise SearchError(
        f"there is no search {name!r}: {root.shown} holds no search at all; give the place "
        "that the search was started with as --storage"
    )


def read_settings(search: Storage) -> dict[str, Any]:
    """What the search was started with, as its driver wrote it."""
    settings: dict[str, Any] = _read(search, SETTINGS)
    return settings


def read_results(search: Storage) -> list[TrialResult]:
    """The trials that have ended, by number; empty when none has.

    Raises:
        DamagedError: if the list is not what was written.
    """
    if not search.exists(RESULTS):
        return []
    value = _read(search, RESULTS)
    try:
        results = [TrialResult.from_json(trial) for trial in value["trials"]]
    except (KeyError, TypeError, PerftError) as error:
        raise DamagedError(
            f"{search.shown}/{RESULTS} is damaged: it is not a list of trials: {error!r}"
        ) from error
    return sorted(results, key=lambda result: result.number)


def result_line(result: TrialResult) -> str:
    """A trial's line of the list of ended trials."""
    return json.dumps(result.to_json())


def write_results(search: Storage, lines: Iterable[str]) -> None:
    """Replaces the list of ended trials, atomically, by what `result_line` gave of each."""
    search.write(RESULTS, ('{"trials": [\n' + ",\n".join(lines) + "\n]}\n").encode())


def read_scores(search: Storage, number: int) -> dict[str, tuple[int, int]]:
    """Test scores of the trial `number`: correct and scored examples by split; empty if none."""
    return read_all_scores(search).get(number, {})


def read_all_scores(search: Storage) -> dict[int, dict[str, tuple[int, int]]]:
    """Test scores by number of the trial; empty when the search has not run to its end.

    Raises:
        DamagedError: if the file is not what was written.
    """
    if not search.exists(SCORES):
        return {}
    value = _read(search, SCORES)
    try:
        return {
            int(number): {split: (correct, scored) for split, (correct, scored) in splits.items()}
            for number, splits in value.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{search.shown}/{SCORES} is damaged: it holds no test scores: {error!r}"
        ) from error


def is_concluded(search: Storage) -> bool:
    """Whether the search ran to its end: all trials have ended, and the best ones have test scores.

    These are written after everything else. A search of which every trial failed has none.

    Raises:
        StorageError: when the storage cannot be read.
    """
    try:
        results = read_results(search)
        complete = {result.number for result in results if result.outcome == "complete"}
        scores = read_all_scores(search)
        is_whole = len(results) >= int(read_settings(search)["num_trials"])
    except (DamagedError, KeyError, TypeError, ValueError):
        return False
    return is_whole and bool(scores) and scores.keys() <= complete


def write_scores(search: Storage, scores: Mapping[int, Scores]) -> None:
    """Replaces the test scores, given by number of the trial, atomically."""
    by_number = {str(number): dict(splits) for number, splits in scores.items()}
    search.write(SCORES, json.dumps(by_number, indent=1).encode())


def _read(search: Storage, name: str) -> Any:
    try:
        return json.loads(search.read(name))
    except ValueError as error:
        raise DamagedError(f"{search.shown}/{name} is damaged: it is not JSON: {error}") from error
