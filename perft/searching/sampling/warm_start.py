"""Starts a search from what earlier ones have found.

Of the same base, data and length, their trials are evidence for the sampler. Of another task or
length, the trials on their fronts are tried first. What was read is kept in the search's folder: a
resume reads nothing else, and draws the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perft.config.typed import typed
from perft.errors import SearchError
from perft.files import Json
from perft.search_folder import WARM_START_FILE
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.selection import pareto_front, read_record, read_results
from perft.storage import Storage
from perft.trial import TrialResult, follows_from_params

_ROWS = tuple[Mapping[str, object], ...]


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier search has found.

    Attributes:
        name: the search's.
        is_evidence: whether its trials are of the same base, data and length.
        results: its trials whose results follow from their parameters.
    """

    name: str
    is_evidence: bool
    results: tuple[TrialResult, ...]

    def points(self) -> list[Mapping[str, Json]]:
        """The parameters of its front, to be tried first; none if its trials are evidence."""
        front = [] if self.is_evidence else pareto_front(self.results)
        return [trial.params for trial in front]


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What earlier searches are compared with; as the settings of the search that starts.

    Attributes:
        space: name of its space.
        space_code: hashes of the space's code.
        base_model: None for the built-in base.
        base_fingerprint: hash of the base.
        data_fingerprint: hash of the data.
        rungs: steps after which a trial reports.
    """

    space: str
    space_code: Mapping[str, str]
    base_model: str | None
    base_fingerprint: str
    data_fingerprint: str
    rungs: tuple[int, ...]


def read_earlier(names: Sequence[str], now: Basis) -> list[Earlier]:
    """What earlier searches have found.

    Args:
        names: theirs.
        now: the search that starts.

    Raises:
        SearchError: if there is no such search, it is of another space or base, or its trials'
            parameters were not recorded.
    """
    return [_read(name, now) for name in names]


def _read(name: str, now: Basis) -> Earlier:
    search = find_search(name)
    was = SearchSettings.read(search)
    if was.space_code != now.space_code:
        raise _refused(name, f"of the space {was.space}", f"of {now.space}, or of another version")
    if was.base_fingerprint != now.base_fingerprint:
        raise _refused(name, f"on {_base(was.base_model)}", f"on {_base(now.base_model)}")
    results = read_results(search)
    found = [each for each in results if follows_from_params(each.origin, each.params)]
    if any(not each.params for each in found):
        raise SearchError(
            f"search {name!r} was run by an earlier version of perft, which did not record the "
            "parameters of its trials; leave it out of --warm-start"
        )
    is_evidence = (was.data_fingerprint, was.rungs) == (now.data_fingerprint, now.rungs)
    return Earlier(name=name, is_evidence=is_evidence, results=tuple(found))


def _refused(name: str, was: str, now: str) -> SearchError:
    return SearchError(
        f"search {name!r} is {was}, and this one {now}, so that its trials say nothing here; leave "
        "it out of --warm-start"
    )


def _base(base_model: str | None) -> str:
    return base_model or "the built-in base"


def write_earlier(search: Storage, earlier: Sequence[Earlier]) -> None:
    """Keeps it in the search's folder; writes no file if there is nothing to keep."""
    if not earlier:
        return
    kept = [
        {
            "name": each.name,
            "is_evidence": each.is_evidence,
            "results": [result.to_json() for result in each.results],
        }
        for each in earlier
    ]
    search.write(WARM_START_FILE, json.dumps(kept).encode())


def kept_earlier(search: Storage) -> list[Earlier]:
    """What `write_earlier` has kept; empty if nothing.

    Raises:
        DamagedError: if the file is not what was written.
    """
    if not search.exists(WARM_START_FILE):
        return []
    return read_record(search, WARM_START_FILE, _of_json)


def _of_json(value: object) -> list[Earlier]:
    return [
        Earlier(
            name=typed(str, each["name"], "name"),
            is_evidence=typed(bool, each["is_evidence"], "is_evidence"),
            results=tuple(
                TrialResult.from_json(result) for result in typed(_ROWS, each["results"], "results")
            ),
        )
        for each in typed(_ROWS, value, "")
    ]
