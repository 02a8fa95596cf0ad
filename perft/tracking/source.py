"""What started a search: the program, the user, and the commit of the code around it."""

import getpass
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from perft.invocation import command_line

_GIT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """What started a search.

    Attributes:
        program: the command, without options.
        user: name of the user; empty if the system knows none.
        commit: hash of the git commit that the working directory is at; empty outside of git.
    """

    program: str
    user: str = ""
    commit: str = ""


def source() -> Source:
    """The source of a search that this process starts."""
    return Source(program=command_line("search"), user=_user(), commit=_commit(Path.cwd()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no entry for its user
        return ""


def _commit(folder: Path) -> str:
    if (git := shutil.which("git")) is None:
        return ""
    try:
        found = subprocess.run(  # noqa: S603 - fixed options
            [git, "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # no repository
        return ""
    return found.stdout.strip()
