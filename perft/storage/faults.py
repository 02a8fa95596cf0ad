"""What goes wrong with a storage: whether it passes, how long to try again, what to call it."""

import errno
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from perft.errors import first_line
from perft.masking import masked

Found = TypeVar("Found")

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds between attempts: each wait is twice the one before."""

NOTE_SECONDS = 5.0
"""How long is tried again before the user hears of it."""

_PASSING = {
    errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENOLCK, errno.ESTALE, errno.ETIMEDOUT,
    errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.ENOTCONN, errno.EPIPE,
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT}

# Stores behind a URI have words instead of numbers: AWS's codes, HTTP's, Google's, curl's.
_PASSING_WORDS = re.compile(
    r"slow_?down|throttl|too_?many_?requests|unavailable|internal_(failure|error)|request_timeout"
    r"|network_connection|operation_?aborted|deadline_exceeded|resource_exhausted|timed out"
    r"|timeout was reached|connection (reset|refused)|http status (408|429|500|502|503|504)\b",
    re.IGNORECASE,
)
_AWS = re.compile(r"AWS Error (?P<said>.*?)(?: \(Request ID: .*\))?$")


def passes(error: OSError) -> bool:
    """Whether to try again may help: the store is busy or out of reach, not missing or full."""
    if error.errno is not None:
        return error.errno in _PASSING
    return _PASSING_WORDS.search(str(error)) is not None


def insist(action: Callable[[], Found], patience: float, say: Callable[[str], None]) -> Found:
    """Does it, and again after errors that pass.

    Args:
        action: reads or writes; to have done it twice does no harm.
        patience: seconds after which no new attempt begins.
        say: hears, once, that it takes long.

    Raises:
        OSError: the last one.
    """
    start, wait, said = time.monotonic(), FIRST_WAIT, False
    while True:
        try:
            return action()
        except OSError as error:
            tried = time.monotonic() - start
            if not passes(error) or tried + wait > patience:
                raise
            if tried > NOTE_SECONDS and not said:
                said = True
                say(f"does not answer ({reason(error)}); trying again for {patience:.0f} s in all")
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def reason(error: Exception) -> str:
    """What an error says, in one line, without what only its library understands."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    line = masked(first_line(error))
    found = _AWS.search(line)
    return found["said"] if found else line


def is_full(error: OSError) -> bool:
    """Whether a disk, or what a user may have of it, is full."""
    return error.errno in _FULL


def free_in(folder: Path) -> str:
    """How much a disk has free, such as "0.1 MB free in /data; make room there"."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free, files = shutil.disk_usage(there).free, os.statvfs(there).f_favail
    without = " and no file more" if files == 0 else ""
    return f"{free / 1e6:,.1f} MB{without} free in {there}; make room there"
