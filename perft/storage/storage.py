"""A folder of files, on a local disk or in an object store.

Every write is atomic: a reader sees the old file or the new one, never a part. Local files are
written under a temporary name and renamed; object stores replace a whole object at once. Transient
errors are retried.
"""

import copy
import posixpath
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

from perft.errors import StorageError
from perft.files import require_file
from perft.storage.faults import free_space_in, is_full, reason, retry
from perft.storage.opening import open_remote
from perft.storage.place import Place

LOCAL_TIMEOUT, REMOTE_TIMEOUT, FIRST_TIMEOUT = 5.0, 60.0, 8.0
"""Seconds of retrying: on a disk, on an object store, on one that has never answered."""

Found = TypeVar("Found")

_LEFT_OVER = re.compile(r".*\.[0-9a-f]{32}\.tmp")


def _silent(_text: str) -> None:
    """Ignores that a store is slow."""


class Storage:
    """A folder given as a directory or a URI (`s3://bucket/path?region=...`, `file:///path`).

    Args:
        place: the directory or the URI.
        say: called with a sentence when the place does not answer for some seconds.
        is_known: whether the place has answered before, to this or another process.

    Attributes:
        uri: an absolute path, or the URI with its options: opens the same folder anywhere.
        shown: the same for messages, without passwords and options.

    Raises:
        StorageError: from every method, when the place cannot be read or written.
    """

    def __init__(
        self, place: str, say: Callable[[str], None] = _silent, *, is_known: bool = False
    ) -> None:
        self._place = Place.parse(place)
        self.uri, self.shown = str(self._place), self._place.shown
        self.say = say
        self._anchor: str | None = None
        self._has_answered = is_known
        if self._place.is_local:
            self._fs, self._root = fs.LocalFileSystem(), self._place.base
            return
        try:
            opened = retry(lambda: open_remote(self._place), self._timeout, say)
            self._fs, self._root = opened
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot open storage {self.shown!r}: {reason(error)}") from error

    @property
    def folder(self) -> Path | None:
        """The directory; None where the place is not on this machine's file system."""
        return Path(self._root) if self._place.is_local else None

    def child(self, name: str) -> "Storage":
        """The folder `name` inside this one."""
        below = copy.copy(self)
        below._place, below._root = self._place.child(name), self._path(name)
        below.uri, below.shown = str(below._place), below._place.shown
        below._anchor = None
        return below

    def anchored(self, name: str) -> "Storage":
        """The same folder, where writes fail once its file `name` is gone.

        Otherwise they would make a part of a folder again that was deleted in the meantime.
        """
        same = copy.copy(self)
        same._anchor = name
        return same

    def prepare(self) -> "Storage":
        """Makes the folder and checks that it can be written to."""
        probe = f".probe-{uuid.uuid4().hex}"
        self.write(probe, b"")
        self.delete(probe)
        return self

    def claim(self, name: str) -> bool:
        """Makes the folder `name`; False when it is there already.

        Of two simultaneous claims on a local disk, one succeeds.
        """
        return self._retried("write", name, lambda: self._claim(name))

    def write(self, name: str, data: bytes) -> None:
        """Writes `data` as the whole content of the file `name`, atomically."""
        if self._anchor is not None and not self.exists(self._anchor):
            raise StorageError(
                f"cannot write {self.shown}/{name}: the folder's {self._anchor} is gone, so it was "
                "deleted or moved meanwhile"
            )
        self._retried("write", name, lambda: self._write(self._path(name), data))

    def read(self, name: str, at_most: int | None = None) -> bytes:
        """The content of the file `name`; an error if it has more than `at_most` bytes."""
        return self._retried("read", name, lambda: self._read(self._path(name), at_most))

    def exists(self, name: str) -> bool:
        """Whether a file or folder `name` is there."""
        kind = self._retried(
            "look for", name, lambda: self._fs.get_file_info(self._path(name)).type
        )
        return bool(kind != fs.FileType.NotFound)

    def names(self, folder: str = "") -> list[str]:
        """Sorted names of the files and folders in `folder`; empty when it is not there."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        found = self._retried("list", folder, lambda: self._fs.get_file_info(selector))
        return sorted(info.base_name for info in found if not info.base_name.endswith(".tmp"))

    def delete(self, name: str) -> None:
        """Deletes the file or folder `name`, if it is there."""
        self._retried("delete", name, lambda: self._delete(self._path(name)))

    def sweep(self) -> None:
        """Deletes temporary files that killed writers have left in a directory."""
        for file in self.folder.rglob("*.tmp") if self.folder else ():
            if _LEFT_OVER.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def _retried(self, what: str, name: str, action: Callable[[], Found]) -> Found:
        """Calls `action`, with retries, and returns its result.

        Raises:
            StorageError: if every attempt fails.
        """
        try:
            found = retry(action, self._timeout, lambda text: self.say(f"{self.shown} {text}"))
        except OSError as error:
            there = f" ({free_space_in(Path(self._root))})" if is_full(error) else ""
            path = f"{self.shown}/{name}" if name else self.shown
            raise StorageError(f"cannot {what} {path}: {reason(error)}{there}") from error
        self._has_answered = True
        return found

    @property
    def _timeout(self) -> float:
        if self._place.is_local:
            return LOCAL_TIMEOUT
        return REMOTE_TIMEOUT if self._has_answered else FIRST_TIMEOUT

    def _claim(self, name: str) -> bool:
        path = self._path(name)
        if self._place.is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                Path(path).mkdir()
                return True
        elif self._fs.get_file_info(path).type == fs.FileType.NotFound:
            self._fs.create_dir(path, recursive=True)
            return True
        return False

    def _write(self, path: str, data: bytes) -> None:
        if not self._place.is_local:
            with self._fs.open_output_stream(path) as stream:
                stream.write(data)
            return
        beside = Path(f"{path}.{uuid.uuid4().hex}.tmp")
        beside.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._fs.open_output_stream(str(beside)) as stream:
                stream.write(data)
            beside.replace(path)
        except BaseException:
            with suppress(OSError):  # it may never have been made
                beside.unlink()
            raise

    def _read(self, path: str, at_most: int | None) -> bytes:
        if self._place.is_local:  # a pipe or a device would block for ever
            require_file(Path(path), at_most)
        with self._fs.open_input_stream(path) as stream:
            data = bytes(stream.read(None if at_most is None else at_most + 1))
        if at_most is not None and len(data) > at_most:
            raise OSError(f"it has more than the {at_most:,} bytes that are read")
        return data

    def _delete(self, path: str) -> None:
        kind = self._fs.get_file_info(path).type
        with suppress(FileNotFoundError):  # another process may delete it at the same time
            if kind == fs.FileType.Directory:
                self._fs.delete_dir(path)
            elif kind == fs.FileType.File:
                self._fs.delete_file(path)

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root
