"""Rows of datasets, from the model hub or from a local folder in its place.

Invariant: the hub and a local folder go through the same call, `datasets.load_dataset`, so that
what holds for one holds for the other.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perft.errors import DataError
from perft.tasks.rows import DataRow, checked_rows, rows_of_table

MOST_FILES = 10_000
"""Files that a local copy of a dataset stays below."""

HUB = "hub"
"""As a task's data: the hub itself."""


HubRow = Mapping[str, Any]
"""A row of a dataset of the hub, by column: each dataset has columns of its own."""


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """Where a benchmark lies on the hub, and how its rows read in the LLM-Adapters layout.

    Attributes:
        id: the dataset's id.
        config: which of its configurations.
        train: split to train on, in the syntax of `datasets`; None when all of it is tested on.
        test: split that the published test set was made of.
        convert: turns one row into `{"instruction", "answer"}`, with `output` where it has one.
    """

    id: str
    config: str | None = None
    train: str | None
    test: str
    convert: Callable[[HubRow], Mapping[str, str]]


def dataset_rows(place: str, config: str | None, split: str) -> list[DataRow]:
    """Rows of one split of a dataset.

    Args:
        place: a dataset id, or a local folder that holds a copy of one.
        config: which of its configurations; None for its only or default one.
        split: such as "train" or "train+test".

    Raises:
        DataError: when the dataset, configuration or split cannot be had, or a row is unusable.
    """
    # Imported late: local files do not need it.
    from datasets import disable_progress_bars, load_dataset  # noqa: PLC0415
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    _require_small(Path(place))
    name = "/".join(part for part in (place, config) if part) + f" [{split}]"
    disable_progress_bars()
    try:
        table = load_dataset(place, config, split=split).data.table
    except (OSError, ValueError, KeyError, RuntimeError, DatasetsError) as error:
        reason = error.__cause__ or error
        raise DataError(
            f"dataset {name} cannot be loaded: {reason}; check its name and the connection to the "
            "hub, or name a local folder"
        ) from error
    return checked_rows(f"dataset {name}", rows_of_table(f"dataset {name}", table))


def _require_small(folder: Path) -> None:
    """Refuses a local folder that is no copy of a dataset: `datasets` would look for minutes."""
    files = (file for _, folders, names in os.walk(folder) for file in (*folders, *names))
    if len(list(itertools.islice(files, MOST_FILES))) == MOST_FILES:
        raise DataError(
            f"the folder {folder} has {MOST_FILES:,} files or more; name one that holds a dataset "
            "and nothing else"
        )


def benchmark_rows(rows: HubDataset, root: Path | None, split: str) -> list[DataRow]:
    """Rows of a benchmark in the LLM-Adapters layout.

    Args:
        rows: where they lie.
        root: folder that holds copies of datasets by id, as in `root/google/boolq`; None for the
            hub.
        split: one of `rows`' splits.
    """
    place = str(root / rows.id) if root else rows.id
    return [_converted(row, rows) for row in dataset_rows(place, rows.config, split)]


def _converted(row: DataRow, rows: HubDataset) -> DataRow:
    try:
        return DataRow(row.where, rows.convert(row.values))
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{row.where} is not a row of {rows.id}: {error!r} (its columns: "
            f"{', '.join(row.values)})"
        ) from error
