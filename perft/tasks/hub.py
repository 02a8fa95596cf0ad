"""Reads rows of datasets, from the hub or from a local copy.

Invariant: the hub and a local folder go through the same call, `datasets.load_dataset`, and so
behave alike.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perft.errors import DataError
from perft.tasks.rows import DataRow, checked_rows, rows_of_table

MAX_FILES = 10_000
"""A local copy of a dataset must have fewer files."""

HUB = "hub"
"""Value of a task's `data` that means the hub."""


HubRow = Mapping[str, Any]
"""A row of a dataset of the hub, by column: each dataset has columns of its own."""


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A benchmark's dataset on the hub, and its conversion to the LLM-Adapters layout.

    Attributes:
        id: the dataset's id.
        config: which of its configurations.
        train: training split, in the syntax of `datasets`; None if all rows are test rows.
        test: split of the published test set.
        convert: turns a row into `{"instruction", "answer"}`, and `output` where it has one.
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
        DataError: when dataset, configuration or split cannot be loaded, or a row is unusable.
    """
    # Imported late: local files do not need it.
    from datasets import disable_progress_bars, load_dataset  # noqa: PLC0415
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    _require_small(Path(place))
    name = "/".join(part for part in (place, config) if part) + f" [{split}]"
    disable_progress_bars()
    try:
        table = load_dataset(place, config, split=split).with_format("arrow")[:]
    except (OSError, ValueError, KeyError, RuntimeError, DatasetsError) as error:
        reason = error.__cause__ or error
        raise DataError(
            f"dataset {name} cannot be loaded: {reason}; check its name and the connection to the "
            "hub, or name a local folder"
        ) from error
    return checked_rows(f"dataset {name}", rows_of_table(f"dataset {name}", table))


def _require_small(folder: Path) -> None:
    """Refuses a folder too large to be a dataset: `datasets` would scan it for minutes."""
    files = (file for _, folders, names in os.walk(folder) for file in (*folders, *names))
    if len(list(itertools.islice(files, MAX_FILES))) == MAX_FILES:
        raise DataError(
            f"the folder {folder} has {MAX_FILES:,} files or more; name one that holds a dataset "
            "and nothing else"
        )


def benchmark_rows(rows: HubDataset, root: Path | None, split: str) -> list[DataRow]:
    """Rows of a benchmark in the LLM-Adapters layout.

    Args:
        rows: the benchmark's dataset.
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
