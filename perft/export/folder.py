"""Writes an adapter's folder: its weights, its model card and the record of its trial.

The folder appears whole or not at all, and a folder that holds anything else is never touched.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from perft.adapter_folder import (
    BLOCK,
    CARD,
    CONFIG,
    MLFLOW_ENVIRONMENT,
    MLFLOW_EXAMPLE,
    MLFLOW_MODEL,
    REQUIREMENTS,
    SCORER,
    TRIAL,
    WEIGHTS,
)
from perft.base_score import BaseScore
from perft.errors import DamagedError, StorageError
from perft.export.card import model_card
from perft.export.extras import Extras
from perft.export.mlmodel import mlflow_files
from perft.export.score import Score
from perft.files import local_folder
from perft.search_folder import adapter_folder
from perft.selection import Confirmed
from perft.storage import Storage, read_folder
from perft.trial import TrialResult

_MLFLOW = {MLFLOW_MODEL, MLFLOW_ENVIRONMENT, MLFLOW_EXAMPLE, REQUIREMENTS}
_FILES = {WEIGHTS, CONFIG, BLOCK, SCORER, CARD, TRIAL} | _MLFLOW
# Settings that mean nothing on other machines; a tracking URI may hold a password.
_PRIVATE = {"storage", "tracking_uri"}


def export_adapter(
    search: Storage,
    picked: TrialResult,
    settings: Mapping[str, object],
    out: Path,
    *,
    scores: Sequence[Score],
    base_score: BaseScore | None = None,
    again: Confirmed | None = None,
    extras: Extras | None = None,
    force: bool = False,
) -> Path:
    """Writes the adapter of a full-length trial, its model card and its record to `out`.

    Args:
        search: the search's folder.
        picked: the trial.
        settings: what the search was started with (`search.json`).
        out: the folder to make; missing or empty, or with `force` an earlier export.
        scores: the trial's accuracies, for the card, the validation split's first.
        base_score: the score of the base alone, likewise; None if it was not scored.
        again: the trial's trainings with other seeds, likewise; None if there are none.
        extras: further facts, likewise; None if none is known.
        force: replace an earlier export.

    Returns:
        `out`, absolute.

    Raises:
        ConfigError: when `out` is an address, such as `s3://bucket/path`.
        StorageError: when the adapter is not in the search's folder, when `out` holds something,
            or when it cannot be written.
    """
    out = local_folder(out)
    _require_free(out, force)
    public = {
        name: _without_folder(value) for name, value in settings.items() if name not in _PRIVATE
    }
    record = {"search": public, "trial": picked.to_json()}
    files = {
        **_adapter(search, picked.number),
        CARD: model_card(picked, public, scores, base_score, again, extras=extras).encode(),
        TRIAL: json.dumps(record, indent=1).encode(),
        **mlflow_files(public),
    }
    try:
        _place(files, out)
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error}; choose another --out") from error
    return out


def _adapter(search: Storage, number: int) -> dict[str, bytes]:
    """The files that make the adapter of a trial."""
    folder = adapter_folder(number)
    files = read_folder(search, folder)
    for name in (WEIGHTS, CONFIG):
        if name not in files:
            raise DamagedError(
                f"{search.shown}/{folder}/{name} is missing; --resume of its search makes it again"
            )
    return {name: data for name, data in files.items() if name in _FILES}


def _without_folder(value: object) -> object:
    """The last part of a path; the rest means nothing on other machines."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _require_free(out: Path, force: bool) -> None:
    try:
        found = {entry.name for entry in out.iterdir()} if out.exists() else set()
    except OSError as error:
        raise StorageError(f"{out} is no folder to export to: {error}; choose another") from error
    if not found or (force and _is_export(found)):
        return
    if _is_export(found):
        raise StorageError(f"{out} holds an earlier export; replace it with --force")
    names = ", ".join(sorted(found)[:3])
    raise StorageError(
        f"{out} is not empty (it holds {names}) and is no earlier export; choose an empty or new "
        "folder"
    )


def _is_export(names: set[str]) -> bool:
    return TRIAL in names and names <= _FILES


def _place(files: Mapping[str, bytes], out: Path) -> None:
    """Writes all files to a temporary folder, then renames that to `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        fresh = Path(beside) / "new"
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        if out.exists():
            out.rename(Path(beside) / "old")
        fresh.rename(out)
