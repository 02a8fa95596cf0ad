"""Reads files that may come from anywhere, within bounds.

Invariant: only regular files of bounded size are read, never a device or a pipe, which may block
for ever; JSON nested deeper than Python can follow is an error.
"""

import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from perft.errors import ConfigError

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value of JSON."""

RECORD_BYTES = 1 << 28
"""Most bytes of a JSON file of perft; 100,000 trials of a search take less."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a path that was one has lost a slash


def read_file(path: Path, at_most: int = RECORD_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        at_most: largest size in bytes.

    Raises:
        OSError: if it is missing, not a regular file, too large or unreadable.
    """
    require_file(path, at_most)
    return path.read_bytes()


def require_file(path: Path, at_most: int | None = None) -> None:
    """Checks that `path` is a regular file of at most `at_most` bytes, without opening it.

    Raises:
        OSError: if it is not.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(f"it is {_kind(about.st_mode)}, no regular file")
    if at_most is not None and about.st_size > at_most:
        raise OSError(f"it has {about.st_size:,} bytes, more than the {at_most:,} that are read")


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is not JSON, repeats a key in an object, or is nested too deeply.
    """
    try:
        return json.loads(data, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def resolved(place: str | Path) -> Path:
    """The absolute path, with "~" expanded; it need not exist.

    Raises:
        ConfigError: if it cannot be resolved: an unknown user, or a loop of links.
    """
    try:
        return Path(place).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{str(place)!r} is no path here: {error}") from error


def local_folder(place: str | Path) -> Path:
    """The absolute path of a folder to make on this machine.

    Raises:
        ConfigError: if it is the address of a store, such as `s3://bucket/path`, or no path.
    """
    if _ADDRESS.match(str(place)):
        raise ConfigError(f"{str(place)!r} is an address; give a folder of this machine")
    return resolved(place)


def _object(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key {key!r} twice")
        found[key] = value
    return found


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")
