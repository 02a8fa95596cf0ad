"""The records of a search as two tables: a row per trial, and a row per report."""

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from perft.errors import printable
from perft.selection import confirmed_rows, picks
from perft.selection.table import base_columns, columns_of, frame_of, origin_columns
from perft.tracking.records import SearchRecord, TrialRecord

CURVES = {
    "number": "int64",
    "step": "int64",
    "at": "datetime64[ms, UTC]",
    "train_loss": "float64",
    "val_loss": "float64",
    "correct": "int64",
    "scored": "int64",
    "accuracy": "float64",
    "lr": "float64",
    "tokens_per_second": "float64",
    "router_entropy": "float64",
    "router_load_min": "float64",
    "router_load_max": "float64",
}
"""Columns of `curves` with their types, as in docs/tracking.md."""


def table(trials: Sequence[TrialRecord], search: SearchRecord) -> pd.DataFrame:
    """One row per trial, by number; docs/tracking.md has the columns.

    Args:
        trials: all that have started.
        search: has the status of trials without an outcome, the test scores and the base's.
    """
    results = [found for trial in trials if (found := trial.result())]
    picked, again = picks(results), confirmed_rows(results)
    return frame_of([_row(trial, search, picked) | again.get(trial.number, {}) for trial in trials])


def curves(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row per report of every trial, by number and step; docs/tracking.md has the columns."""
    rows = [
        {
            "number": trial.number,
            "at": pd.Timestamp(at, unit="ms", tz="UTC"),
            **report.to_json(),
            "accuracy": report.accuracy if report.scored else None,
            "router_load_min": min(report.router_load, default=None),
            "router_load_max": max(report.router_load, default=None),
        }
        for trial in trials
        for at, report in trial.reports
    ]
    return pd.DataFrame(rows, columns=list(CURVES)).astype(CURVES)


def parquet(frame: pd.DataFrame) -> bytes:
    """A table as the content of a Parquet file."""
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()


def _row(trial: TrialRecord, search: SearchRecord, picked: dict[int, str]) -> dict[str, Any]:
    status = search.status
    if trial.outcome is not None:
        status = "FAILED" if trial.outcome == "failed" else "FINISHED"
    last = trial.reports[-1][1] if trial.reports else None
    row = {
        "number": trial.number,
        "status": status,
        "outcome": trial.outcome,
        "on_front": trial.number in picked,
        "pick": picked.get(trial.number, ""),
        "started": _time(trial.started),
        "ended": _time(trial.ended or search.ended),
        **columns_of(trial.config, last, trial.size),
        **origin_columns(trial.origin),
        **base_columns(search.base),
        "error": printable(trial.error),
    }
    for split, (correct, scored) in search.scores.get(trial.number, {}).items():
        row[f"test_correct/{split}"], row[f"test_scored/{split}"] = correct, scored
        row[f"test_accuracy/{split}"] = correct / scored if scored else None
    return row


def _time(at: int | None) -> pd.Timestamp | None:
    return None if at is None else pd.Timestamp(at, unit="ms", tz="UTC")
