"""Files of a search, on a local disk or a remote store, behind one small door.

Every write is atomic: a reader sees the old file or the new one, never a part. Local paths are
written beside their place and renamed; object stores replace a whole object at once.
"""

import posixpath
import uuid
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

from perft.errors import StorageError
from perft.files import resolved


class Storage:
    """A folder given as a directory or a URI (`s3://bucket/path`, `file:///path`).

    Raises:
        StorageError: from every method, when the place cannot be read or written.
    """

    def __init__(self, place: str) -> None:
        self.place = place if "://" in place else str(resolved(place))
        try:
            self._fs, self._root = fs.FileSystem.from_uri(self.place)
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot open storage {place!r}: {error}") from error

    def child(self, name: str) -> "Storage":
        """The folder `name` inside this one."""
        return Storage(posixpath.join(self.place, name))

    def prepare(self) -> "Storage":
        """Makes the folder and proves that it can be written to."""
        probe = f".probe-{uuid.uuid4().hex}"
        self.write(probe, b"")
        self.delete(probe)
        return self

    def claim(self, name: str) -> bool:
        """Makes the folder `name`; False when it is there already.

        Of two who claim it at once on a local disk, one gets it.
        """
        path = self._path(name)
        try:
            if isinstance(self._fs, fs.LocalFileSystem):
                self._fs.create_dir(posixpath.dirname(path), recursive=True)
                with suppress(FileExistsError):
                    Path(path).mkdir()
                    return True
            elif not self.exists(name):
                self._fs.create_dir(path, recursive=True)
                return True
        except OSError as error:
            raise StorageError(f"cannot write {self.place}/{name}: {error}") from error
        return False

    def write(self, name: str, data: bytes) -> None:
        """Writes `data` as the whole content of the file `name`, atomically."""
        path = self._path(name)
        local = isinstance(self._fs, fs.LocalFileSystem)
        target = f"{path}.{uuid.uuid4().hex}.tmp" if local else path
        try:
            self._fs.create_dir(posixpath.dirname(path), recursive=True)
            with self._fs.open_output_stream(target) as stream:
                stream.write(data)
            if local:
                Path(target).replace(path)
        except OSError as error:
            if local:
                with suppress(OSError):  # it may never have been made
                    Path(target).unlink()
            raise StorageError(f"cannot write {self.place}/{name}: {error}") from error

    def read(self, name: str, at_most: int | None = None) -> bytes:
        """The content of the file `name`, which may be required to have `at_most` so many bytes."""
        try:
            self._require_file(name, at_most)
            with self._fs.open_input_stream(self._path(name)) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StorageError(f"cannot read {self.place}/{name}: {error}") from error

    def exists(self, name: str) -> bool:
        """Whether a file or folder `name` is there."""
        try:
            info = self._fs.get_file_info(self._path(name))
        except OSError as error:
            raise StorageError(f"cannot look into {self.place}: {error}") from error
        return bool(info.type != fs.FileType.NotFound)

    def names(self, folder: str = "") -> list[str]:
        """Sorted names of the files and folders in `folder`; empty when it is not there."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        try:
            found = self._fs.get_file_info(selector)
        except OSError as error:
            raise StorageError(f"cannot list {self.place}/{folder}: {error}") from error
        return sorted(info.base_name for info in found if not info.base_name.endswith(".tmp"))

    def delete(self, name: str) -> None:
        """Deletes the file or folder `name`, if it is there."""
        path = self._path(name)
        try:
            kind = self._fs.get_file_info(path).type
            if kind == fs.FileType.Directory:
                self._fs.delete_dir(path)
            elif kind == fs.FileType.File:
                self._fs.delete_file(path)
        except OSError as error:
            raise StorageError(f"cannot delete {self.place}/{name}: {error}") from error

    def _require_file(self, name: str, at_most: int | None) -> None:
        """A pipe or a device would be waited for without end."""
        about = self._fs.get_file_info(self._path(name))
        if about.type not in (fs.FileType.File, fs.FileType.NotFound):
            raise OSError(f"it is no file but {about.type.name.lower()}")
        if at_most is not None and (about.size or 0) > at_most:
            raise OSError(f"it has {about.size:,} bytes, more than the {at_most:,} that are read")

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root
