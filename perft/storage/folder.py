"""Folders that are valid only when they are whole: their list of checksums is written last.

`checksums.json` has the SHA-256 of every other file. A folder without it is incomplete, or was
written by a version of perft that had no checksums.
"""

import hashlib
import json
from collections.abc import Mapping

from perft.errors import DamagedError
from perft.files import parse_json
from perft.storage.storage import Storage

CHECKSUMS = "checksums.json"
_MEND = "; --resume of its search makes it again"


def write_folder(storage: Storage, folder: str, files: Mapping[str, bytes]) -> None:
    """Writes the files of a folder, then its checksums, without which it is not valid."""
    for name, data in files.items():
        storage.write(f"{folder}/{name}", data)
    seal_folder(storage, folder, files)


def seal_folder(storage: Storage, folder: str, files: Mapping[str, bytes]) -> None:
    """Marks a folder as whole, by the checksums of its files."""
    sums = {name: _checksum(data) for name, data in files.items()}
    storage.write(f"{folder}/{CHECKSUMS}", json.dumps(sums, indent=1).encode())


def read_folder(storage: Storage, folder: str) -> dict[str, bytes]:
    """The files of a folder by name, checked where the folder has checksums.

    Raises:
        DamagedError: names the file that is damaged or missing.
        StorageError: when the storage cannot be read.
    """
    names = storage.names(folder)
    if CHECKSUMS not in names:
        return {name: storage.read(f"{folder}/{name}") for name in names}
    files = {}
    for name, checksum in _checksums(storage, folder).items():
        if name not in names:
            raise DamagedError(f"{storage.shown}/{folder}/{name} is missing{_MEND}")
        files[name] = storage.read(f"{folder}/{name}")
        if _checksum(files[name]) != checksum:
            raise DamagedError(
                f"{storage.shown}/{folder}/{name} is damaged: its checksum is wrong{_MEND}"
            )
    return files


def read_whole_folder(storage: Storage, folder: str) -> dict[str, bytes]:
    """The files of a folder by name; it must have checksums, and the files must match them.

    Raises:
        DamagedError: if it is not whole.
        StorageError: when the storage cannot be read.
    """
    if not storage.exists(f"{folder}/{CHECKSUMS}"):
        raise DamagedError(f"{storage.shown}/{folder} is not whole: it has no {CHECKSUMS}{_MEND}")
    return read_folder(storage, folder)


def is_whole(storage: Storage, folder: str) -> bool:
    """Whether a folder has checksums and its files match them.

    Raises:
        StorageError: when the storage cannot be read.
    """
    try:
        read_whole_folder(storage, folder)
    except DamagedError:
        return False
    return True


def _checksums(storage: Storage, folder: str) -> dict[str, str]:
    file = f"{folder}/{CHECKSUMS}"
    try:
        sums: object = parse_json(storage.read(file))
    except ValueError as error:
        raise DamagedError(f"{storage.shown}/{file} is damaged: {error}") from error
    if not (isinstance(sums, dict) and sums and all(isinstance(v, str) for v in sums.values())):
        raise DamagedError(f"{storage.shown}/{file} is damaged: it is no list of checksums")
    return sums


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
