"""What a tracker is to show of a search, in the search's folder, every number with its time.

Invariant: a record is written before it is sent. Whatever a tracker has lost, or never got, is sent
again from here; and since times are kept, nothing that it has already is there twice.
"""

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from perft.errors import PerftError
from perft.files import parse_json
from perft.search_folder import RECORDS, SEARCH_RECORD, is_record, trial_record
from perft.storage import Storage
from perft.trial import AdapterSize, AnswerCount, Outcome, Report, SplitScores, TrialConfig

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
"""Of a run, as MLflow calls it."""

_READERS = 16  # records that are read at the same time: a remote storage takes long for each
_Record = TypeVar("_Record")


def now() -> int:
    """Milliseconds since 1970, MLflow's clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial. Times are milliseconds since 1970.

    Attributes:
        number: the trial's.
        config: what is trained.
        started: when it began.
        size: parameter counts, once they are known.
        reports: by the time at which each was made.
        outcome: how it ended; None before.
        error: why it failed; empty otherwise.
        ended: when it ended; None before.
        adapter: folder of its adapter in the search's folder; empty where it has none.
    """

    number: int
    config: TrialConfig
    started: int
    size: AdapterSize | None = None
    reports: tuple[tuple[int, Report], ...] = ()
    outcome: Outcome | None = None
    error: str = ""
    ended: int | None = None
    adapter: str = ""

    @property
    def latest(self) -> int:
        """When the last thing happened that is known of it."""
        return max([self.started, self.ended or 0, *(at for at, _ in self.reports)])

    def to_json(self) -> dict[str, Any]:
        """The record as a dictionary of JSON values."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "config": self.config.to_flat(),
            "size": dataclasses.asdict(self.size) if self.size else None,
            "reports": [[at, report.to_json()] for at, report in self.reports],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TrialRecord":
        """Rebuilds what `to_json` wrote."""
        reports = tuple((int(at), Report.from_json(report)) for at, report in value["reports"])
        return cls(
            **{
                **value,
                "config": TrialConfig.from_flat(value["config"]),
                "size": AdapterSize(**value["size"]) if value["size"] else None,
                "reports": reports,
            }
        )


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """The search as a whole. Times are milliseconds since 1970.

    Attributes:
        name: the search's.
        place: its folder, as it may be shown.
        params: what it was asked to do.
        key: tells it from every other search, those of its name and place that came before it too.
        started: when it began.
        status: of its run, and of the runs of trials that have not ended.
        ended: when it ended; None while it runs.
        front: numbers of the trials on the Pareto front; None before there is one.
        scores: of the chosen trials, by number: correct and scored examples by test split.
        predictions: folders of what the scores were counted from, by number.
        files: names of the files in the search's folder that its run holds, too.
    """

    name: str
    place: str
    params: Mapping[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: int = field(default_factory=now)
    status: Status = "RUNNING"
    ended: int | None = None
    front: tuple[int, ...] | None = None
    scores: Mapping[int, SplitScores] = field(default_factory=dict)
    predictions: Mapping[int, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The record as a dictionary of JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SearchRecord":
        """Rebuilds what `to_json` wrote."""
        scores = {
            int(number): {split: AnswerCount(*pair) for split, pair in splits.items()}
            for number, splits in value["scores"].items()
        }
        return cls(
            **{
                **value,
                "front": None if value["front"] is None else tuple(value["front"]),
                "scores": scores,
                "predictions": {int(n): place for n, place in value["predictions"].items()},
                "files": tuple(value["files"]),
            }
        )


class Records:
    """The records of one search: in memory as they are, in its folder as they were last kept.

    Args:
        folder: the search's folder.
        search: the record of the search as a whole.
        trials: those of its trials, by number.
    """

    def __init__(
        self, folder: Storage, search: SearchRecord, trials: dict[int, TrialRecord] | None = None
    ) -> None:
        self.folder = folder
        self.search = search
        self.trials = trials or {}

    @classmethod
    def read(cls, folder: Storage, fresh: SearchRecord) -> "Records":
        """What the folder holds; `fresh` is the search's where it holds none of that.

        A record that is damaged is left out: a search that goes on makes it again.
        """
        names = [f"{RECORDS}/{name}" for name in folder.names(RECORDS) if is_record(name)]

        with ThreadPoolExecutor(_READERS) as pool:
            texts = dict(zip(names, pool.map(folder.read, names), strict=True))
        search = _read(SearchRecord.from_json, texts.pop(SEARCH_RECORD, b""))
        found = (_read(TrialRecord.from_json, text) for text in texts.values())
        return cls(folder, search or fresh, {each.number: each for each in found if each})

    @property
    def latest(self) -> int:
        """When the last thing happened that is known of the search and its trials."""
        return max([self.search.started, *(trial.latest for trial in self.trials.values())])

    def keep(self, trial: TrialRecord) -> None:
        """Takes a trial's record in place of the one before, and writes it.

        Raises:
            StorageError: if the folder cannot be written.
        """
        self.trials[trial.number] = trial
        self._write(trial_record(trial.number), trial.to_json())

    def keep_search(self, search: SearchRecord) -> None:
        """As `keep`, for the search as a whole."""
        self.search = search
        self._write(SEARCH_RECORD, search.to_json())

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        self.folder.write(name, json.dumps(value).encode())


def _read(build: Callable[[Mapping[str, Any]], _Record], text: bytes) -> _Record | None:
    try:
        return build(parse_json(text))
    except (ValueError, KeyError, TypeError, AttributeError, PerftError):
        return None
