"""Errors of a storage: which are transient, how long to retry, how to describe them."""

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
"""Seconds of retrying before the user is told."""

_TRANSIENT = {
    errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENOLCK, errno.ESTALE, errno.ETIMEDOUT,
    errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.ENOTCONN, errno.EPIPE,
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT}

# Object stores report messages in place of errno: AWS's codes, HTTP's, Google's, curl's.
_TRANSIENT_MESSAGE = re.compile(
    r"slow_?down|throttl|too_?many_?requests|unavailable|internal_(failure|error)|request_timeout"
    r"|network_connection|operation_?aborted|deadline_exceeded|resource_exhausted|timed out"
    r"|timeout was reached|connection (reset|refused)|http status (408|429|500|502|503|504)\b",
    re.IGNORECASE,
)
_AWS = re.compile(r"AWS Error (?P<said>.*?)(?: \(Request ID: .*\))?$")


def is_transient(error: OSError) -> bool:
    """Whether a retry may succeed: the store is busy or out of reach, not missing or full."""
    if error.errno is not None:
        return error.errno in _TRANSIENT
    return _TRANSIENT_MESSAGE.search(str(error)) is not None


def retry(action: Callable[[], Found], timeout: float, say: Callable[[str], None]) -> Found:
    """Calls `action`, and again after transient errors.

    Args:
        action: an idempotent read or write.
        timeout: seconds after which no new attempt begins.
        say: called once, with a message, when it takes long.

    Raises:
        OSError: of the last attempt.
    """
    start, wait, said = time.monotonic(), FIRST_WAIT, False
    while True:
        try:
            return action()
        except OSError as error:
            tried = time.monotonic() - start
            if not is_transient(error) or tried + wait > timeout:
                raise
            if tried > NOTE_SECONDS and not said:
                said = True
                say(f"does not answer ({reason(error)}); trying again for {timeout:.0f} s in all")
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def reason(error: Exception) -> str:
    """An error's message in one line, without the details of its library."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    line = masked(first_line(error))
    found = _AWS.search(line)
    return found["said"] if found else line


def is_full(error: OSError) -> bool:
    """Whether a disk, or the user's quota of it, is full."""
    return error.errno in _FULL


def free_space_in(folder: Path) -> str:
    """The free space of a disk in words: "0.1 MB free in /data; make room there"."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free, files = shutil.disk_usage(there).free, os.statvfs(there).f_favail
    without = " and no file more" if files == 0 else ""
    return f"{free / 1e6:,.1f} MB{without} free in {there}; make room there"
