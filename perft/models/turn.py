"""Lets the processes of a machine load their bases one after the other.

Weights go through the host's memory to a GPU. Eight worker groups that load a base at the same time
need eight times its size there; in turn they need it once, and all but the first read it from the
system's cache of files.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def lock_file() -> Path:
    """The file that a process of this user on this machine holds while it loads a base."""
    return Path(tempfile.gettempdir()) / f"perft-loading-{os.getuid()}.lock"


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Inside, no other process of this user on this machine is in its turn.

    A turn ends with its process, whatever becomes of it. Where the file cannot be made, nobody
    waits.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            # No link: the folder of temporary files is everybody's.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(lock_file(), flags, 0o600)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
