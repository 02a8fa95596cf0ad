"""Records in an adapter's folder the task it was trained on, without local paths or code.

File names are relative to the folder that holds all of them, as in "./train.jsonl"; on another
machine the user names that folder, or one file to score. The file of a function that scores lies
beside the record, and runs only if the user trusts it: `TaskSource.trust_code`.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from perft.adapter_folder import SCORER
from perft.checks import (
    LARGEST_SEED,
    require_name,
    require_positive,
    require_whole,
    shown,
)
from perft.config.typed import read_fields, typed
from perft.errors import AdapterError, ConfigError
from perft.tasks.hub import HUB
from perft.tasks.own import FILES, OwnTask, path_and_rest
from perft.tasks.task import TaskSource

_HERE = "./"


def to_record(source: TaskSource, fingerprint: str) -> dict[str, Any]:
    """The task as JSON values.

    Args:
        source: the task's source on this machine.
        fingerprint: of its data, `Task.fingerprint`.
    """
    root = root_of(source)
    return {
        "name": source.name,
        "data": f"{_HERE}{root.name}" if root and source.own is None else source.data,
        "data_fingerprint": fingerprint,
        "validation_size": source.validation_size,
        "seed": source.seed,
        "own": source.own and _places(source.own, lambda place: _from(root, place)),
    }


def code_files(source: TaskSource) -> dict[str, bytes]:
    """What goes into an adapter's folder beside the record: the file of a function that scores.

    Returns:
        By name; empty if a rule scores the task, or the file is gone.
    """
    code = code_of(source)
    if code is None or not Path(code[0]).is_file():
        return {}
    return {SCORER: Path(code[0]).read_bytes()}


def root_of(source: TaskSource) -> Path | None:
    """The folder that holds all files of a task, or at least its data; None if there is none."""
    if source.own is None:
        local = source.data is not None and Path(source.data).is_dir()
        return Path(source.data).resolve() if local and source.data else None
    data = [source.own[name] for name in ("train", "test") if source.own.get(name)]
    code = code_of(source)
    for some in ([*data, code[0]] if code else data, data):
        paths = [Path(path_and_rest(place)[0]) for place in some]
        parents = [path.parent for path in paths if path.is_absolute()]
        root = Path(os.path.commonpath(parents)) if parents else None
        if root and root != Path(root.anchor):  # a name relative to / is a whole path
            return root
    return None


def from_record(
    record: Mapping[str, Any], root: Path | None, owner: Path, *, only: Path | None = None
) -> TaskSource:
    """The task of a record; its code is not trusted.

    Args:
        record: the result of `to_record`.
        root: the folder of its files on this machine; None if unknown.
        owner: the adapter's folder with the record; may hold the files, too.
        only: a file of rows to score as the test split of a user's own task, which then needs no
            other (`perft.tasks.load_test`); None for the files of the record.

    Raises:
        AdapterError: if the record is damaged, or a file that it names is missing.
    """
    try:
        known = read_fields(_Record, record)
        own, data = known.own, known.data
        if own is not None:
            OwnTask.from_json({**own, "scorer": _rule(own)})
            own, data = _places(own, lambda place: _to(root or owner, place)), None
            if _code_of(own) and (owner / SCORER).is_file():
                own["scorer"] = [str(owner.resolve() / SCORER), own["scorer"][1]]
            if only is not None:
                own["test"] = str(only.resolve())
            else:
                _require_files(own, root or owner, owner)
        elif data not in (None, HUB):
            if not data.startswith(_HERE):
                raise ConfigError(f"data must be hub, or a name from {_HERE}, found {shown(data)}")
            if root is None:
                raise AdapterError(
                    f"{owner} was trained on the data {data.removeprefix(_HERE)!r}; say where they "
                    "are: --data"
                )
            data = str(root)
        return TaskSource(
            name=known.name,
            data=data,
            validation_size=known.validation_size,
            seed=known.seed,
            own=own,
        )
    except ConfigError as error:
        raise AdapterError(
            f"the adapter folder {owner} is damaged: what it was trained on: {error}"
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A record as `to_record` gives it."""

    name: str
    data: str | None
    data_fingerprint: str
    validation_size: int
    seed: int
    own: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        require_name("name", self.name)
        require_positive("validation_size", self.validation_size)
        require_whole("seed", self.seed, 0, LARGEST_SEED)


def code_of(source: TaskSource) -> tuple[str, str] | None:
    """File and name of the function that scores the task; None if a rule does."""
    return None if source.own is None else _code_of(source.own)


def _code_of(own: Mapping[str, Any]) -> tuple[str, str] | None:
    if isinstance(own["scorer"], str):
        return None
    file, name = own["scorer"]
    return str(file), str(name)


def without_code(source: TaskSource) -> TaskSource:
    """The task with the rule "exact" in place of a function that scores."""
    if code_of(source) is None or source.own is None:
        return source
    return dataclasses.replace(source, own={**source.own, "scorer": "exact"})


def _rule(own: Mapping[str, Any]) -> str:
    """The scorer with a rule in place of a function, to check a task without running code."""
    scorer = own.get("scorer")
    if isinstance(scorer, str):
        return scorer
    if len(typed(tuple[str, ...], scorer, "scorer")) != 2:
        raise ConfigError(f"scorer must be a file and a name, found {shown(scorer)}")
    return "exact"


def _places(own: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """`own` with `change` applied to the places of its data and of its scorer's file."""
    changed = dict(own)
    for name in ("train", "test"):
        changed[name] = None if own.get(name) is None else change(own[name])
    if not isinstance(own["scorer"], str):
        file, function = own["scorer"]
        changed["scorer"] = [change(file), function]
    return changed


def _from(root: Path | None, place: str) -> str:
    path, rest = path_and_rest(place)
    if not Path(path).is_absolute():
        return place
    within = root is not None and Path(path).is_relative_to(root)
    name = Path(path).relative_to(root).as_posix() if within and root else Path(path).name
    return f"{_HERE}{name}{rest}"


def _to(root: Path, place: str) -> str:
    within = place.startswith(_HERE)
    path, _ = path_and_rest(place)
    if ".." in PurePosixPath(path).parts or Path(path).is_absolute():
        raise ConfigError(f"{shown(place)} leads out of its folder")
    if not within and path.endswith(FILES):
        raise ConfigError(f"{shown(place)} is neither a file from its folder nor a dataset")
    if not within:
        return place
    return str(root.resolve() / place.removeprefix(_HERE))


def _require_files(own: Mapping[str, Any], root: Path, owner: Path) -> None:
    places = [path_and_rest(own[name])[0] for name in ("train", "test") if own[name] is not None]
    missing = [place for place in places if Path(place).is_absolute() and not Path(place).exists()]
    if missing:
        names = " and ".join(Path(place).name for place in missing)
        raise AdapterError(
            f"{owner} was trained on files of the task {own['name']!r} that are not in {root}: "
            f"{names}; name the folder that holds them, or one file to score: --data"
        )
