"""Turns any error into a program's last message and its exit status.

An error that the user can fix is one line. The traceback of an error from a library, a user's file
or the machine goes to a file under `PERFT_HOME`; only a bug of perft prints its traceback.
"""

import errno
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from perft.errors import InterruptedSearchError, PerftError, first_line
from perft.home import home
from perft.masking import masked
from perft.modules import owner_of

BUG, FIXABLE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
"""Exit status by kind of error; the last is what shells report for a closed pipe."""

_NO_MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory")
_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EACCES: "see that this user may use it, or name another place",
    errno.EPERM: "see that this user may use it, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.EMFILE: "allow more open files: ulimit -n 65536",
    errno.ENFILE: "allow more open files on this machine",
}


@dataclass(frozen=True)
class ExitReport:
    """How a program ends.

    Attributes:
        status: its exit status.
        text: its last message on stderr; may be empty.
    """

    status: int
    text: str


def exit_report(error: BaseException) -> ExitReport:
    """Exit status and message for an error that nothing caught."""
    if isinstance(error, InterruptedSearchError):
        return ExitReport(INTERRUPTED, _line(error))
    if isinstance(error, PerftError):
        return ExitReport(FIXABLE, _line(error))
    if isinstance(error, KeyboardInterrupt):
        return ExitReport(INTERRUPTED, "interrupted")
    if isinstance(error, BrokenPipeError):
        return ExitReport(PIPE_CLOSED, "")
    report = masked("".join(traceback.format_exception(error)))
    if _is_bug(error):
        return ExitReport(BUG, report.rstrip())
    told = [f"{_line(error)}{_where(error)}", _advice(error), *getattr(error, "__notes__", ())]
    if file := _keep(report):
        told.append(f"its traceback is in {file}")
    return ExitReport(FIXABLE, masked("; ".join(filter(None, told))))


def useful_line(error: BaseException) -> str:
    """The line of a message that says what happened: the last of Ray's errors, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and type(error).__module__.partition(".")[0] == "ray":
        return lines[-1]
    return first_line(error)


def _line(error: BaseException) -> str:
    if isinstance(error, PerftError) and type(error).__module__.startswith("perft"):
        return f"error: {masked(' '.join(str(error).split()))}"
    return f"error: {type(error).__name__}: {useful_line(error)}"


def _is_bug(error: BaseException) -> bool:
    """Whether perft's code raised a built-in error that neither user nor machine caused."""
    if type(error).__module__ != "builtins" or isinstance(
        error, (OSError, MemoryError, ImportError)
    ):
        return False
    return not _is_of_memory(error) and not _is_of_user(error) and _owner(error) == "perft"


def _is_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


def _is_of_user(error: BaseException) -> bool:
    return bool(_where(error))


def _where(error: BaseException) -> str:
    """File and line of the user's code, such as a search space, that raised the error."""
    if isinstance(error, SyntaxError) and error.filename:
        return "" if owner_of(error.filename) == "perft" else f", in {error.filename}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        owner = owner_of(frame.filename)
        if owner == "user":
            return f", in {frame.filename}, line {frame.lineno}"
        if owner == "perft":
            return ""
    return ""


def _owner(error: BaseException) -> str:
    """Whose code raised the error; for Python's own code, its caller's owner."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    owners = (owner_of(frame.filename) for frame in frames)
    return next((owner for owner in owners if owner != "python"), "perft")


def _advice(error: BaseException) -> str:
    if _is_of_memory(error):
        return "free some memory, or ask for less of it"
    if isinstance(error, ModuleNotFoundError):
        return "install it into the environment that perft runs in"
    return _ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def _keep(report: str) -> Path | None:
    """Writes a traceback to a new file that only the user can read; None if that fails."""
    file = home() / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(report, errors="backslashreplace")
    except OSError:
        return None
    return file
