"""Which Python files named only in a search's `search.json` may run.

A search's folder may come from anywhere. A file that the user has named on the command line is
recorded by path and content under `PERFT_HOME`, and runs again unasked while it is unchanged.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from perft.errors import SearchError
from perft.home import home, write_best_effort


def remember(file: str) -> None:
    """Records a file that the user has named; if that fails, the user is asked again later."""
    write_best_effort(_note_of(file), f"{file}\n")


def require_trusted(
    file: str, search: str, *, resume_by: str, trust_code: bool, tell: Callable[[str], None]
) -> None:
    """Checks that the space of a search to resume may be run.

    Args:
        file: the space's file, which `search.json` names.
        search: the search's name.
        resume_by: the command that resumes it.
        trust_code: whether the user trusts the file; it is then named before it runs.
        tell: shows the user a line.

    Raises:
        SearchError: if the user does not trust it, or there is no such file.
    """
    if not Path(file).is_file():
        raise SearchError(
            f"the space of search {search!r} was {file}, which is no file here; say where it is: "
            f"{resume_by} --space FILE"
        )
    if trust_code:
        tell(f"runs {file}, the space of search {search}")
    elif not _note_of(file).is_file():
        raise SearchError(
            f"search {search!r} draws its trials by the code of {file}, which has changed or was "
            f"never named on this machine; look at it, then resume by: {resume_by} --trust-code"
        )


def _note_of(file: str) -> Path:
    content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    key = hashlib.sha256(f"{Path(file).resolve()}\n{content}".encode()).hexdigest()
    return home() / "trusted" / key
