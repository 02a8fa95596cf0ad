"""Checks that a SQLite file can be written and has the installed MLflow's schema."""

import contextlib
import sqlite3
from pathlib import Path

from filelock import FileLock, Timeout

from perft.errors import StorageError

_LOCKED_SECONDS = 5.0


def require_sqlite(path: Path) -> None:
    """Checks that runs can be recorded in a SQLite file, which need not exist yet.

    Raises:
        StorageError: if it is the store of another version of MLflow.
        OSError: if its folder cannot be made.
        sqlite3.Error: if it is no database, cannot be written, or is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _look(path)
    except (sqlite3.OperationalError, StorageError):
        # A store that another search is creating is locked, or has one of MLflow's older schemas.
        if not _is_being_made(path):
            _look(path)  # it may be ready by now


def _look(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=_LOCKED_SECONDS)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE perft_probe (id INTEGER)")
        connection.rollback()
        _require_schema(path, connection)


def lock_of(path: Path) -> Path:
    """The lock by which searches that start together on a new store wait for each other."""
    return path.with_name(f"{path.name}.lock")


def _is_being_made(path: Path) -> bool:
    """Whether another search is creating the store right now."""
    if not lock_of(path).exists():
        return False
    try:
        with FileLock(lock_of(path), timeout=0):
            return False
    except Timeout:
        return True


def _require_schema(path: Path, connection: sqlite3.Connection) -> None:
    tables = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    if connection.execute(tables).fetchone() is None:
        return
    (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    from perft.compat.mlflow import schemas  # noqa: PLC0415 - reads MLflow's own files

    known, newest = schemas()
    if found in newest:
        return
    if found in known:
        what = f"is of an older MLflow; run `mlflow db upgrade sqlite:///{path}`"
    else:
        what = "is of a newer MLflow, or of something else; install that version"
    raise StorageError(
        f"cannot record runs in sqlite:///{path}: its schema {found!r} {what}, or set "
        "MLFLOW_TRACKING_URI to another place"
    )
