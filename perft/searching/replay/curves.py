"""Recorded trials in a Parquet file: a row per trial, with its configuration, size and reports."""

import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perft.errors import ConfigError, DamagedError
from perft.storage import Storage
from perft.trial import TrialResult

_REPORT = {
    "step": pa.int32(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "correct": pa.int32(),
    "scored": pa.int32(),
    "lr": pa.float64(),
    "tokens_per_second": pa.float64(),
}
_SIZE = dict.fromkeys(("trainable", "activated", "base_activated"), pa.int64())
_SCHEMA = pa.schema(
    {
        "number": pa.int32(),
        "outcome": pa.string(),
        "error": pa.string(),
        "config": pa.string(),  # of JSON
        "size": pa.struct(_SIZE),
        "reports": pa.list_(pa.struct(_REPORT)),
    }
)


def read_curves(file: Path) -> list[TrialResult]:
    """The trials of a file, by number.

    Raises:
        DamagedError: if the file is not what `write_curves` wrote.
    """
    try:
        rows = pq.read_table(file, schema=_SCHEMA).to_pylist()
        return [_result(row) for row in rows]
    except (pa.ArrowException, OSError, ConfigError, ValueError) as error:
        raise DamagedError(f"{file} has no recorded trials: {error}") from error


def write_curves(file: Path, trials: Iterable[TrialResult]) -> None:
    """Replaces the file, atomically. Shares and entropies of routers are left out."""
    rows = [_row(trial) for trial in sorted(trials, key=lambda trial: trial.number)]
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), data, compression="zstd")
    Storage(str(file.parent)).prepare().write(file.name, data.getvalue())


def _row(trial: TrialResult) -> dict[str, Any]:
    return {
        "number": trial.number,
        "outcome": trial.outcome,
        "error": trial.error,
        "config": json.dumps(trial.config.to_flat(), sort_keys=True),
        "size": asdict(trial.size) if trial.size else None,
        "reports": [{name: getattr(each, name) for name in _REPORT} for each in trial.reports],
    }


def _result(row: dict[str, Any]) -> TrialResult:
    return TrialResult.from_json({**row, "config": json.loads(row["config"]), "run_id": ""})
