"""Everything that can be refused before a worker starts, and the settings that come of it."""

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perft.errors import ConfigError, SearchError
from perft.home import default_storage, default_tracking_uri, remember_place
from perft.models.source import base_directory, check_base, fingerprint
from perft.search.settings import FILE, SearchSettings
from perft.search.space import Draw, find_space, has_rung_accuracy
from perft.search.trust import remember, require_trusted
from perft.selection import find_search
from perft.storage import Storage
from perft.tasks import TaskSource, load_task, root_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Prepared:
    """A search that is ready to run.

    Attributes:
        settings: what it was asked to do.
        draw: draws its trials.
        source: where its task comes from.
        search: its folder.
        resume: whether it goes on.
    """

    settings: SearchSettings
    draw: Draw
    source: TaskSource
    search: Storage
    resume: bool


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asked for; None leaves a choice to the space or to the default."""

    space: str
    name: str | None = None
    num_trials: int | None = None
    base_model: str | None = None
    data: str | None = None
    storage: str | None = None
    validation_size: int = 400
    max_steps: int | None = None
    workers_per_group: int = 1
    groups: int | None = None
    slots: int | None = None
    seed: int = 0
    dtype: str = "auto"
    experts: str = "auto"
    checkpointing: bool = False
    compile: bool | None = None
    rung_accuracy: bool | None = None


def prepare(wish: Wish) -> Prepared:
    """Checks a new search and makes its folder.

    Raises:
        PerftError: the first thing that cannot work: space, base, data, storage, or the name.
    """
    if wish.name is not None and not _NAME.fullmatch(wish.name):
        raise ConfigError(f"search name {wish.name!r}: use letters, digits, '.', '_' and '-'")
    space = find_space(wish.space)
    space_file = str(Path(wish.space).expanduser().resolve()) if wish.space.endswith(".py") else ""
    base_model = _absolute(wish.base_model)
    data = _absolute(wish.data)
    root = Storage(default_storage() if wish.storage is None else wish.storage)
    if wish.name is not None:
        _require_new(root, wish.name)
    check_base(base_model)
    require_experts(wish.experts, training=True)
    source = space.source(data, wish.validation_size, wish.seed)
    task = load_task(source)
    draw = Draw(space, base_model is None, wish.seed, wish.max_steps)
    rungs = draw.rungs()
    _require_rows(space.training(base_model is None).batch_size, wish.workers_per_group)
    name = wish.name or _fresh_name(root, wish.space)
    settings = SearchSettings(
        name=name,
        space=space_file or wish.space,
        task=source.name,
        base_model=base_model,
        base_fingerprint=fingerprint(base_directory(base_model)),
        data=data,
        data_fingerprint=task.fingerprint,
        validation_size=wish.validation_size,
        storage=root.shown,
        tracking_uri=default_tracking_uri(),
        num_trials=space.num_trials if wish.num_trials is None else wish.num_trials,
        max_steps=rungs[-1],
        rungs=rungs,
        groups=wish.groups,
        workers_per_group=wish.workers_per_group,
        slots=wish.slots,
        seed=wish.seed,
        dtype=wish.dtype,
        experts=wish.experts,
        checkpointing=wish.checkpointing,
        compile=wish.compile,
        rung_accuracy=has_rung_accuracy(base_model, wish.rung_accuracy),
    )
    if space_file:
        remember(space_file)
    _remember_places(settings, source)
    return Prepared(settings, draw, source, root.child(name).prepare(), resume=False)


def prepare_resume(
    name: str,
    storage: str | None,
    *,
    space: str = "",
    trust_code: bool = False,
    tell: Callable[[str], None] = print,
) -> Prepared:
    """Takes up a search where it was interrupted.

    Args:
        name: the search's.
        storage: the place that holds it; None for the default.
        space: the file of its space where the user names it again, as after it was moved.
        trust_code: whether the file that the search's folder names may be run unseen.
        tell: shows the user which file that is.

    Raises:
        PerftError: if there is no such search, its base or data have changed since, or its space is
            a file that nobody has said to run.
    """
    search = find_search(default_storage() if storage is None else storage, name)
    settings = SearchSettings.read(search)
    settings = _with_space(settings, space, trust_code=trust_code, tell=tell)
    check_base(settings.base_model)
    require_experts(settings.experts, training=True)
    found = find_space(settings.space)
    source = found.source(settings.data, settings.validation_size, settings.seed)
    if load_task(source).fingerprint != settings.data_fingerprint:
        raise SearchError(
            f"the data of search {name!r} have changed since it was started; restore them, or "
            "start a search under a new name"
        )
    if fingerprint(base_directory(settings.base_model)) != settings.base_fingerprint:
        raise SearchError(
            f"the base of search {name!r} has changed since it was started; restore it, or start "
            "a search under a new name"
        )
    _remember_places(settings, source)
    draw = Draw(found, settings.base_model is None, settings.seed, settings.max_steps)
    return Prepared(settings, draw, source, search, resume=True)


def require_experts(experts: str, *, training: bool) -> None:
    """As `perft.models.implementations.require_implementation`; imports torch only if it has to."""
    if experts != "auto":
        from perft.models.implementations import require_implementation  # noqa: PLC0415

        require_implementation(experts, training=training)


def _with_space(
    settings: SearchSettings, space: str, *, trust_code: bool, tell: Callable[[str], None]
) -> SearchSettings:
    """The settings with the space that may be run: what the user names, or what they trust."""
    is_file = settings.space.endswith(".py")
    if space not in ("", settings.space) and not (is_file and space.endswith(".py")):
        raise SearchError(
            f"search {settings.name!r} has the space {settings.space}, found --space {space}; "
            "leave it out"
        )
    if not is_file:
        return settings
    if not space:
        require_trusted(settings.space, settings.name, trust_code=trust_code, tell=tell)
        return settings
    file = Path(space).expanduser().resolve()
    if file.is_file():
        remember(str(file))
    return dataclasses.replace(settings, space=str(file))


def _remember_places(settings: SearchSettings, source: TaskSource) -> None:
    """Notes where base and data are, which an exported adapter does not say."""
    remember_place(settings.base_fingerprint, base_directory(settings.base_model))
    if root := root_of(source):
        remember_place(settings.data_fingerprint, root)


def _fresh_name(root: Storage, space: str) -> str:
    """Space and time; a search that was started in the same second has another one."""
    while True:
        name = f"{Path(space).stem}-{datetime.now():%Y%m%d-%H%M%S}"
        if root.claim(name):
            return name
        time.sleep(0.1)


def _require_new(root: Storage, name: str) -> None:
    if root.exists(f"{name}/{FILE}"):
        raise SearchError(
            f"a search named {name!r} exists in {root.shown}; go on with it by --resume {name}, "
            "or choose another --name"
        )


def _require_rows(batch_size: int, workers: int) -> None:
    if workers > batch_size:
        raise ConfigError(
            f"{workers} workers per group cannot share batches of {batch_size} examples, every "
            "worker needs one; lower --workers-per-group or raise the space's batch_size"
        )


def _absolute(place: str | None) -> str | None:
    """A local directory by its absolute path, which means the same in every process."""
    if place is None or not Path(place).expanduser().exists():
        return place
    return str(Path(place).expanduser().resolve())
