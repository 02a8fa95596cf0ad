"""The undocumented interface of MLflow that perft uses: the database schemas it knows.

MLflow itself takes seconds to import before it checks the schema of a SQLite file. So this module
reads MLflow's migrations as text, without importing it.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from perft.compat.library import Library

MLFLOW = Library("mlflow", tested="3.17.2")

_PURPOSE = "to say whether a SQLite file is of its schema"
_REVISION = re.compile(r"^revision = (.*)$", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision = (.*)$", re.MULTILINE)
_ID = re.compile(r"[0-9a-f]{12,}")


def _folder() -> Path:
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "store/db_migrations/versions"


MLFLOW.require(_folder().is_dir(), "mlflow/store/db_migrations/versions", _PURPOSE)


def schemas() -> tuple[set[str], set[str]]:
    """Revisions of a database that the installed MLflow knows, and the newest of them.

    Raises:
        LibraryError: if its migrations name none.
    """
    known, before = set[str](), set[str]()
    for file in _folder().glob("*.py"):
        text = file.read_text()
        known |= {name for line in _REVISION.findall(text) for name in _ID.findall(line)}
        before |= {name for line in _BEFORE.findall(text) for name in _ID.findall(line)}
    MLFLOW.require(bool(known - before), "migrations that name their revisions", _PURPOSE)
    return known, known - before
