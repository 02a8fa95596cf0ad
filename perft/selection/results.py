"""The files of a search that say how its trials ended.

`results.json` holds every ended trial and is replaced as a whole, so a reader sees a state that
was true; `scores.json` holds what the chosen adapters scored on the test splits.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from perft.errors import PerftError, StorageError
from perft.searches import SEARCH_FILE
from perft.storage import Storage
from perft.trial import TrialResult

RESULTS, SCORES = "results.json", "scores.json"

# Correct and scored examples by the name of a test split.
Scores = Mapping[str, tuple[int, int]]


def read_settings(search: Storage) -> dict[str, Any]:
    """What the search was started with, as its driver wrote it."""
    settings: dict[str, Any] = _read(search, SEARCH_FILE)
    return settings


def read_results(search: Storage) -> list[TrialResult]:
    """The trials that have ended, by number; empty when none has."""
    if not search.exists(RESULTS):
        return []
    value = _read(search, RESULTS)
    try:
        results = [TrialResult.from_json(trial) for trial in value["trials"]]
    except (KeyError, TypeError, PerftError) as error:
        raise StorageError(
            f"{search.place}/{RESULTS} is not a list of trials: {error!r}"
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
    """Test scores by number of the trial; empty when the search has not run to its end."""
    if not is_concluded(search):
        return {}
    return {
        int(number): {split: (correct, scored) for split, (correct, scored) in splits.items()}
        for number, splits in _read(search, SCORES).items()
    }


def is_concluded(search: Storage) -> bool:
    """Whether the search ran to its end: its test scores are written after everything else."""
    return search.exists(SCORES)


def write_scores(search: Storage, scores: Mapping[int, Scores]) -> None:
    """Replaces the test scores, given by number of the trial, atomically."""
    by_number = {str(number): dict(splits) for number, splits in scores.items()}
    search.write(SCORES, json.dumps(by_number, indent=1).encode())


def _read(search: Storage, name: str) -> Any:
    try:
        return json.loads(search.read(name))
    except ValueError as error:
        raise StorageError(f"{search.place}/{name} is not JSON: {error}") from error
