"""Finds searches by name, in the storage given or in all that this machine has used.

The default storage needs no record. For any other the index under `PERFT_HOME` holds one small
file per name and storage, written when a search starts there or is resumed.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from perft.errors import ConfigError, SearchError, StorageError, unknown
from perft.home import default_storage, home, write_best_effort
from perft.invocation import command_line
from perft.masking import MASK, masked
from perft.search_folder import SEARCH_FILE
from perft.storage import Storage

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def require_name(name: str) -> None:
    """Checks the name of a search, which is also its folder's.

    Raises:
        ConfigError: if no search can have it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"search name {name!r}: use letters, digits, '.', '_' and '-', a letter or digit "
            "first, 100 characters at most"
        )


def fresh_name(root: Storage, space: str) -> str:
    """Claims a name that no other search has, made of the space's name and the time."""
    stem = _NO_NAME.sub("-", Path(space).stem).strip("-._")[:60] or "search"
    while True:
        name = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
        if root.claim(name):
            return name
        time.sleep(0.1)


def remember_search(name: str, storage: str) -> None:
    """Records that a storage holds a search, without passwords and keys."""
    if storage == Storage(default_storage()).uri:
        return
    place = masked(storage)
    write_best_effort(_folder() / name / hashlib.sha256(place.encode()).hexdigest()[:16], place)


def find_search(name: str, storage: str | None = None) -> Storage:
    """The folder of the search `name`; arguments and errors as of `find_storage`."""
    return find_storage(name, storage).child(name)


def find_storage(name: str, storage: str | None = None) -> Storage:
    """The storage that holds the search `name`.

    Args:
        name: the search's.
        storage: the directory or URI that holds it; None to look in all that this machine has used.

    Raises:
        SearchError: when there is none, or there are several; says which there are.
        StorageError: when `storage` cannot be read.
    """
    if storage is not None:
        root = Storage(storage)
        return root if _holds(root, name) else _refuse(name, root, _names_in(root))
    root, noted = Storage(default_storage()), _noted(name)
    found = [place for place in (root, *map(_opened, noted)) if place and _holds(place, name)]
    if len(found) > 1:
        places = " and in ".join(place.uri for place in found)
        raise SearchError(f"there is a search {name!r} in {places}; say which: --storage")
    if found:
        return found[0]
    if noted:
        raise SearchError(f"search {name!r} was started in {' or '.join(noted)}, {_gone(noted)}")
    return _refuse(name, root, {*_names_in(root), *_names_noted()})


def known_searches(start: str) -> list[str]:
    """Names of the searches that this machine knows, sorted.

    Args:
        start: with which a name must begin.
    """
    names = set(_names_noted())
    with contextlib.suppress(StorageError):
        names |= set(_names_in(Storage(default_storage())))
    return sorted(name for name in names if name.startswith(start))


def name_options(option: str, name: str, storage: str) -> tuple[str, ...]:
    """The options that name a search in a command, such as `--name first`.

    Args:
        option: "--name", or "--resume".
        name: the search's.
        storage: the place that holds it; left out where the name alone finds it.
    """
    places = [Storage(default_storage()), *map(_opened, _noted(name))]
    holding = [place.uri for place in places if place and _holds(place, name)]
    return (option, name) if holding == [storage] else (option, name, "--storage", masked(storage))


def resume_command(name: str, storage: str) -> str:
    """The command that resumes a search in a shell, even if its storage does not answer now.

    Args:
        name: the search's.
        storage: the place that holds it.
    """
    try:
        named = name_options("--resume", name, storage)
    except StorageError:
        named = ("--resume", name, "--storage", masked(storage))
    return command_line("search", *named)


def _holds(root: Storage, name: str) -> bool:
    return _is_folder_name(name) and root.exists(f"{name}/{SEARCH_FILE}")


def _is_folder_name(name: str) -> bool:
    """Whether a name can only mean a direct child of a folder."""
    return name not in ("", ".", "..") and Path(name).name == name


def _opened(place: str) -> Storage | None:
    """A storage of the index; None if it does not answer, or needs a password or key."""
    with contextlib.suppress(StorageError):
        if MASK not in place:
            storage = Storage(place)
            storage.names()
            return storage
    return None


def _names_in(root: Storage) -> list[str]:
    return [name for name in root.names() if _holds(root, name)]


def _names_noted() -> list[str]:
    return [folder.name for folder in _folder().iterdir()] if _folder().is_dir() else []


def _noted(name: str) -> list[str]:
    """The storages that the index has for a name, sorted."""
    folder = _folder() / name
    if not _is_folder_name(name) or not folder.is_dir():
        return []
    return sorted(file.read_text() for file in folder.iterdir() if file.suffix != ".tmp")


def _folder() -> Path:
    return home() / "index"


def _gone(places: list[str]) -> str:
    if any(MASK in place for place in places):
        return "whose password or key is kept nowhere; give that place with it: --storage"
    return "which does not hold it now; put it back, or say where it is: --storage"


def _refuse(name: str, root: Storage, known: Iterable[str]) -> NoReturn:
    place = root.shown
    if names := list(known):
        raise SearchError(f"{unknown('search', name, names)} in {place}")
    raise SearchError(
        f"there is no search {name!r}: {place} holds no search at all; give the place that the "
        "search was started with as --storage"
    )
