"""The records of a search for its tracker, kept in the search's folder with times.

Invariant: a record is written before it is sent. Whatever a tracker has lost, or never got, is sent
again from here; since records keep their times, sending again duplicates nothing.
"""

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from perft.base_score import BaseScore
from perft.config.typed import read_fields
from perft.errors import PerftError
from perft.files import Json, parse_json
from perft.search_folder import RECORDS, SEARCH_RECORD, is_record, trial_record
from perft.storage import Storage
from perft.tracking.datasets import Dataset
from perft.tracking.source import Source
from perft.trial import (
    AdapterSize,
    AnswerCount,
    Origin,
    Outcome,
    Report,
    SplitScores,
    TrialConfig,
    TrialResult,
)

if TYPE_CHECKING:
    from perft.selection import Confirmed

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
"""Status of a run, in MLflow's words."""

_READERS = 16  # records read concurrently: a remote storage takes long for each
_Record = TypeVar("_Record")


def now() -> int:
    """Milliseconds since 1970, MLflow's clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial. Times are milliseconds since 1970.

    Attributes:
        number: the trial's.
        config: its configuration.
        started: start time.
        size: parameter counts, once they are known.
        reports: pairs of time and report.
        outcome: its outcome; None before its end.
        error: why it failed; empty otherwise.
        ended: end time; None before its end.
        adapter: folder of its adapter in the search's folder; empty if it has none.
        params: the parameters that it was drawn with.
        origin: where it comes from if the sampler did not draw it.
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
    params: Mapping[str, Json] = field(default_factory=dict)
    origin: Origin | None = None

    def result(self, run_id: str = "") -> TrialResult | None:
        """The result of a trial that has ended, with its run in a tracker; else None."""
        if self.outcome is None:
            return None
        return TrialResult(
            number=self.number,
            config=self.config,
            outcome=self.outcome,
            reports=tuple(report for _, report in self.reports),
            size=self.size,
            run_id=run_id,
            error=self.error,
            params=self.params,
            origin=self.origin,
        )

    @property
    def latest(self) -> int:
        """The latest time in the record."""
        return max([self.started, self.ended or 0, *(at for at, _ in self.reports)])

    def to_json(self) -> dict[str, Any]:
        """The record as a dictionary of JSON values."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "config": self.config.to_flat(),
            "size": dataclasses.asdict(self.size) if self.size else None,
            "reports": [[at, report.to_json()] for at, report in self.reports],
            "origin": dataclasses.asdict(self.origin) if self.origin else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TrialRecord":
        """Rebuilds what `to_json` wrote."""
        reports = tuple((int(at), Report.from_json(report)) for at, report in value["reports"])
        origin = value.get("origin")
        return cls(
            **{
                **value,
                "config": TrialConfig.from_flat(value["config"]),
                "size": AdapterSize(**value["size"]) if value["size"] else None,
                "reports": reports,
                "origin": Origin(**origin) if origin else None,
            }
        )


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """The search as a whole. Times are milliseconds since 1970.

    Attributes:
        name: the search's.
        place: its folder, as it may be shown.
        params: its settings.
        key: unique id, also among earlier searches of the same name and place.
        started: start time.
        status: of its run, and of the runs of trials that have not ended.
        ended: end time; None while it runs.
        front: numbers of the trials on the Pareto front; None before there is one.
        scores: by number of a chosen trial, correct and scored examples by test split.
        predictions: by number, the folder of the predictions that were scored.
        files: names of the files in the search's folder that its run also holds.
        base: the score of the base alone; None before the end, and of an earlier version.
        confirmed: by number of a trial of the front, its trainings with other seeds.
        source: what started it; None of an earlier version.
        datasets: the splits of its task; empty until they are known, and of an earlier version.
        seconds: for which it has run, in all processes; None before its end.
        gpu_seconds: the same, times its GPUs.
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
    base: BaseScore | None = None
    confirmed: "Mapping[int, Confirmed]" = field(default_factory=dict)
    source: Source | None = None
    datasets: tuple[Dataset, ...] = ()
    seconds: float | None = None
    gpu_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as a dictionary of JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SearchRecord":
        """Rebuilds what `to_json` wrote."""
        from perft.selection import Confirmed  # noqa: PLC0415 - pandas is slow

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
                "base": BaseScore.from_json(value["base"]) if value.get("base") else None,
                "confirmed": {
                    int(number): read_fields(Confirmed, each)
                    for number, each in value.get("confirmed", {}).items()
                },
                "source": read_fields(Source, value["source"]) if value.get("source") else None,
                "datasets": tuple(read_fields(Dataset, e) for e in value.get("datasets", ())),
            }
        )


class Records:
    """The records of one search, in memory and in its folder.

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
        """Reads the records in a folder; `fresh` replaces a missing record of the search.

        Leaves out damaged records: a resumed search makes them again.
        """
        names = [f"{RECORDS}/{name}" for name in folder.names(RECORDS) if is_record(name)]

        with ThreadPoolExecutor(_READERS) as pool:
            texts = dict(zip(names, pool.map(folder.read, names), strict=True))
        search = _read(SearchRecord.from_json, texts.pop(SEARCH_RECORD, b""))
        found = (_read(TrialRecord.from_json, text) for text in texts.values())
        return cls(folder, search or fresh, {each.number: each for each in found if each})

    @property
    def latest(self) -> int:
        """The latest time in the records."""
        return max([self.search.started, *(trial.latest for trial in self.trials.values())])

    def keep(self, trial: TrialRecord) -> None:
        """Replaces a trial's record, and writes it.

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
