"""Says so if the best trial of a search answers no better than one answer that is always the same.

Accuracy alone does not tell: 62% is much on a task of ten answers, and nothing on boolq, where 62%
of all answers are "true".
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import parquet

from perft.base_score import CHANCE, BaseScore
from perft.errors import StorageError
from perft.search_folder import predictions_folder
from perft.selection import format_share, picked_of, wilson
from perft.storage import Storage, read_folder
from perft.trial import TrialResult

Row = Mapping[str, object]
"""A prediction: prompt, output, label, whether it is correct, and the split."""

SAMPLES = 3
"""Answers shown."""

WIDTH = 60
"""Characters shown of a prompt's end and of an answer."""

_COLUMNS = ["split", "index", "prompt", "output", "label", "correct"]


@dataclass(frozen=True)
class _Scored:
    """A test split: right answers, examples, and what is right so often by chance."""

    name: str
    correct: int
    scored: int
    always: str
    chance: float

    @property
    def is_above(self) -> bool:
        """Whether the interval of its accuracy is above chance."""
        return wilson(self.correct, self.scored)[0] > self.chance

    def __str__(self) -> str:
        share = format_share(self.correct, self.scored)
        return f"{share} on {self.name}, where {self.always} is right in {self.chance:.1%}"


def chance_note(
    search: Storage, results: Sequence[TrialResult], base: BaseScore | None
) -> list[str]:
    """Lines that warn of a best trial that is not above chance on any test split; mostly none.

    Chance is the share of the most frequent label; of pairs of answers, one half.

    Args:
        search: the folder of a search that has scored its best trial.
        results: its trials.
        base: the score of the base alone, which knows whether the task compares pairs of answers.
    """
    picked = picked_of(results)
    if picked is None:
        return []
    best = picked.best
    try:
        rows = _predictions(search, best.number)
    except (StorageError, pa.ArrowException):  # the result does not depend on them
        return []
    splits = _splits(rows, pairs=base is not None and base.is_tie)
    if not splits or any(split.is_above for split in splits):
        return []
    return [
        f"note: the best, trial {best.number}, is not above chance: "
        f"{'; '.join(map(str, splits))}; some of its answers:",
        *(_sample(row) for row in rows[:SAMPLES]),
    ]


def _predictions(search: Storage, number: int) -> list[Row]:
    """The predictions of a trial on the test splits, by split and example; empty without any."""
    files = read_folder(search, predictions_folder(number))
    tables = [
        parquet.read_table(pa.BufferReader(data), columns=_COLUMNS)
        for name, data in sorted(files.items())
        if name.endswith(".parquet")
    ]
    rows: Iterable[Row] = (row for table in tables for row in table.to_pylist())
    return sorted(rows, key=lambda row: (str(row["split"]), row["index"]))


def _splits(rows: Sequence[Row], *, pairs: bool) -> list[_Scored]:
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(str(row["split"]), []).append(row)
    return [_scored(name, some, pairs=pairs) for name, some in by_name.items()]


def _scored(name: str, rows: Sequence[Row], *, pairs: bool) -> _Scored:
    correct = sum(bool(row["correct"]) for row in rows)
    ((label, count),) = Counter(str(row["label"]) for row in rows).most_common(1)
    always = "a coin" if pairs else f"always {_short(label)}"
    chance = CHANCE if pairs else count / len(rows)
    return _Scored(name, correct, len(rows), always, chance)


def _sample(row: Row) -> str:
    prompt, output, label = (_short(str(row[name])) for name in ("prompt", "output", "label"))
    return f"  {prompt}: {output}, wanted {label}"


def _short(text: str) -> str:
    """The end of a text in quotes, its line breaks escaped."""
    text = text.strip()
    return repr(text if len(text) <= WIDTH else f"... {text[-WIDTH:]}")
