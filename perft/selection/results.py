"""The files of a search that say how its trials ended.

`results.json` holds every ended trial and is replaced as a whole, so a reader never sees a part of
it; `scores.json` holds what the chosen adapters scored on the test splits, `base.json` what the
base scored without any.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from perft.base_score import BaseScore
from perft.checks import LARGEST, require_name, shown
from perft.config.typed import typed
from perft.errors import ConfigError, DamagedError
from perft.files import RECORD_BYTES, parse_json
from perft.search_folder import BASE_FILE, RESULTS_FILE, SCORES_FILE
from perft.storage import Storage
from perft.trial import AnswerCount, SplitScores, TrialResult

T = TypeVar("T")


_SCORES = Mapping[str, Mapping[str, tuple[int, ...]]]
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def read_results(search: Storage) -> list[TrialResult]:
    """The trials that have ended, by number; empty when none has.

    Raises:
        DamagedError: if the list is damaged.
    """
    if not search.exists(RESULTS_FILE):
        return []
    found = read_record(search, RESULTS_FILE, _results)
    return sorted(found.values(), key=lambda result: result.number)


def result_line(result: TrialResult) -> str:
    """A trial's line in the list of ended trials."""
    return json.dumps(result.to_json())


def write_results(search: Storage, lines: Iterable[str]) -> None:
    """Replaces the list of ended trials, atomically; each line is of `result_line`."""
    search.write(RESULTS_FILE, ('{"trials": [\n' + ",\n".join(lines) + "\n]}\n").encode())


def read_scores(search: Storage, number: int) -> SplitScores:
    """Test scores of the trial `number`: correct and scored examples by split; empty if none."""
    return read_all_scores(search).get(number, {})


def read_all_scores(search: Storage) -> dict[int, SplitScores]:
    """Test scores by number of the trial; empty when the search has not run to its end.

    Raises:
        DamagedError: if the file is damaged.
    """
    if not search.exists(SCORES_FILE):
        return {}
    return read_record(search, SCORES_FILE, _scores)


def is_concluded(search: Storage, num_trials: int) -> bool:
    """Whether the search ran to its end: all trials have ended, and the best ones have test scores.

    The scores are written last. A search whose trials all failed has none.

    Args:
        search: the search's folder.
        num_trials: trials that are drawn.

    Raises:
        StorageError: when the storage cannot be read.
    """
    try:
        results, scores = read_results(search), read_all_scores(search)
    except DamagedError:
        return False
    complete = {result.number for result in results if result.outcome == "complete"}
    drawn = sum(result.origin is None for result in results)
    return drawn >= num_trials and bool(scores) and scores.keys() <= complete


def write_scores(search: Storage, scores: Mapping[int, SplitScores]) -> None:
    """Replaces the test scores, given by number of the trial, atomically."""
    by_number = {str(number): dict(splits) for number, splits in scores.items()}
    search.write(SCORES_FILE, json.dumps(by_number, indent=1).encode())


def read_base(search: Storage) -> BaseScore | None:
    """The score of the base alone; None before the search's end, and of an earlier version.

    Raises:
        DamagedError: if the file is damaged.
    """
    if not search.exists(BASE_FILE):
        return None
    return read_record(search, BASE_FILE, _base)


def write_base(search: Storage, base: BaseScore) -> None:
    """Replaces the score of the base alone, atomically."""
    search.write(BASE_FILE, json.dumps(base.to_json(), indent=1).encode())


def read_record(search: Storage, name: str, check: Callable[[object], T]) -> T:
    """A JSON file of a search, checked.

    Args:
        search: the search's folder.
        name: of the file.
        check: parses the file's value; a ConfigError names a wrong field.

    Raises:
        StorageError: if the file cannot be read.
        DamagedError: if it is no JSON, or a field is wrong; names both.
    """
    try:
        return check(parse_json(search.read(name, at_most=RECORD_BYTES)))
    except ValueError as error:
        raise DamagedError(f"{search.shown}/{name} is damaged: {error}") from error


def _results(value: object) -> dict[int, TrialResult]:
    trials = typed(Mapping[str, object], value, "").get("trials")
    found: dict[int, TrialResult] = {}
    for index, trial in enumerate(typed(tuple[object, ...], trials, "trials")):
        try:
            result = TrialResult.from_json(trial)
        except ConfigError as error:
            raise ConfigError(f"trials[{index}]: {error}") from error
        if found.setdefault(result.number, result) is not result:
            raise ConfigError(f"trials[{index}]: number {result.number} is there twice")
    return found


def _base(value: object) -> BaseScore:
    return BaseScore.from_json(typed(Mapping[str, object], value, ""))


def _scores(value: object) -> dict[int, SplitScores]:
    found: dict[int, SplitScores] = {}
    for key, splits in typed(_SCORES, value, "").items():
        if not _NUMBER.fullmatch(key):
            raise ConfigError(f"{shown(key)} must be the number of a trial")
        for split, pair in splits.items():
            require_name("the name of a split", split)
            if len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= LARGEST:
                raise ConfigError(
                    f"{key}.{split} must be the examples that were right and those that were "
                    f"scored, found {shown(list(pair))}"
                )
        found[int(key)] = {split: AnswerCount(*pair) for split, pair in splits.items()}
    return found
