"""Prepares a resumed search: reads its settings, checks what may change, and whether it may run."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

from perft.errors import ConfigError, SearchError
from perft.files import resolved
from perft.masking import masked
from perft.models.precision import require_precision
from perft.models.source import base_directory, check_base, fingerprint, is_tiny
from perft.searches import find_storage, remember_search, resume_command
from perft.searching.base import require_base, require_experts, with_base_template
from perft.searching.changes import other_versions, require_unchanged, started_trials
from perft.searching.given_space import given_space
from perft.searching.prepare import SearchPlan, remember_paths
from perft.searching.sampling.samplers import HUB, require_installed
from perft.searching.settings import OBJECT, SearchSettings, installed_versions, tracking_uri_of
from perft.searching.space import Draw, SearchSpace
from perft.searching.stages import During, quietly
from perft.searching.steering.control import changed_budget, num_trials_of
from perft.searching.steering.events import Command, SetBudget, SetNumTrials
from perft.searching.trust import remember, require_trusted
from perft.storage import Storage
from perft.tasks import load_task
from perft.tracking import datasets_of

_FIELDS = {"confirm": "confirmations"}
"""Options whose field of `SearchSettings` has another name."""


def prepare_resume(
    name: str,
    storage: str | None = None,
    *,
    space: str | SearchSpace | None = None,
    num_trials: int | None = None,
    bounds: Mapping[str, float | None] | None = None,
    trust_code: bool = False,
    unchangeable: Collection[str] = (),
    gpus_per_worker: float | None = None,
    tell: Callable[[str], None] = print,
    during: During = quietly,
) -> SearchPlan:
    """Prepares a search to resume where it was interrupted, or to continue after its end.

    Args:
        name: the search's.
        storage: the storage that holds it; None for the one that this machine knows.
        space: the file of its space, if the user names it again, for example after a move; the
            space itself, if it was an object.
        num_trials: trials to draw in all; None for as many as it has.
        bounds: of its budget that change, by field of `Budget`; the others stay.
        trust_code: whether the file that the search's folder names may be run unseen.
        unchangeable: other options that the user gave, all of which are refused.
        gpus_per_worker: the new number; None to keep it.
        tell: shows the user a line.
        during: shows what takes long.

    Raises:
        PerftError: if there is no such search, its space, data or base have changed, its space is
            a file that the user does not trust, or an option cannot change.
    """
    root = find_storage(name, storage)
    search = root.child(name)
    settings = SearchSettings.read(search)
    _require_trusted_sampler(settings, root.uri, trust_code=trust_code)
    _refuse(settings, unchangeable)
    tracking_uri = tracking_uri_of(settings)
    settings = dataclasses.replace(settings, tracking_uri=masked(tracking_uri))
    commands = _commands(settings, search, num_trials, bounds or {})
    name_of_space = given_space(space).name if isinstance(space, SearchSpace) else space
    settings = _with_space(settings, name_of_space, root.uri, trust_code=trust_code, tell=tell)
    if gpus_per_worker is not None:
        settings = dataclasses.replace(settings, gpus_per_worker=gpus_per_worker)
    with during("reading the base and the task"):
        check_base(settings.base_model)
        require_precision(settings.quantize, workers=settings.workers_per_group)
        require_experts(settings.experts, training=True, quantize=settings.quantize)
        given = given_space(space if isinstance(space, SearchSpace) else settings.space)
        found = given.space
        source = found.source(settings.data, settings.validation_size, settings.seed)
        source = with_base_template(source, settings.base_model)
        task = load_task(source)
        now = dataclasses.replace(
            settings,
            data_fingerprint=task.fingerprint,
            base_fingerprint=fingerprint(base_directory(settings.base_model)),
            space_code=given.code(),
            versions=installed_versions(),
        )
    require_unchanged(settings, now)
    with during("checking the base and its tokenizer"):
        require_base(settings.base_model, task.splits)
    for line in other_versions(settings, now):
        tell(line)
    remember_paths(settings, source)
    remember_search(name, root.uri)
    draw = Draw(found, is_tiny(settings.base_model), settings.seed, settings.max_steps)
    return SearchPlan(
        settings,
        draw,
        given,
        source,
        search,
        root.uri,
        tracking_uri,
        resume=True,
        commands=commands,
        datasets=datasets_of(task, source),
    )


def _require_trusted_sampler(settings: SearchSettings, root: str, *, trust_code: bool) -> None:
    """Refuses to download and run what only the search's folder names."""
    if settings.sampler.startswith(HUB) and not trust_code:
        raise SearchError(
            f"search {settings.name!r} has the sampler {settings.sampler}, whose code OptunaHub "
            "downloads and runs; if you want that, resume it by: "
            f"{resume_command(settings.name, root)} --trust-code"
        )
    require_installed(settings.sampler)


def _refuse(settings: SearchSettings, unchangeable: Collection[str]) -> None:
    """Refuses options that cannot change when a search resumes, even if their value is the same."""
    fixed = [
        f"--{name.replace('_', '-')} (it has {getattr(settings, _FIELDS.get(name, name))})"
        for name in unchangeable
    ]
    if fixed:
        raise ConfigError(
            f"search {settings.name!r} resumes with the settings that it was started with; leave "
            f"out {', '.join(fixed)}"
        )


def _commands(
    settings: SearchSettings,
    search: Storage,
    num_trials: int | None,
    bounds: Mapping[str, float | None],
) -> tuple[Command, ...]:
    """What the search is told: another number of trials, at least those begun; another budget."""
    found: list[Command] = []
    if num_trials is not None and num_trials != num_trials_of(search, settings):
        started = started_trials(search)
        if num_trials < started:
            raise ConfigError(
                f"{started} trials of search {settings.name!r} have begun, found --num-trials "
                f"{num_trials}; ask for that many or more"
            )
        found.append(SetNumTrials(count=num_trials))
    if bounds:
        found.append(SetBudget(budget=changed_budget(search, settings, bounds)))
    return tuple(found)


def _with_space(
    settings: SearchSettings,
    space: str | None,
    root: str,
    *,
    trust_code: bool,
    tell: Callable[[str], None],
) -> SearchSettings:
    """The settings with the space that may be run: one that the user names, or trusts."""
    if settings.space == OBJECT and space is None:
        raise SearchError(
            f"the space of search {settings.name!r} was an object of a program; resume it there: "
            f"{settings.resume_by(root)}"
        )
    is_file = settings.space.endswith(".py")
    if space not in (None, settings.space) and not (is_file and space.endswith(".py")):
        raise SearchError(
            f"search {settings.name!r} has the space {settings.space}, found --space {space}; "
            "leave it out"
        )
    if not is_file:
        return settings
    if space is None:
        resume_by = resume_command(settings.name, root)
        require_trusted(
            settings.space, settings.name, resume_by=resume_by, trust_code=trust_code, tell=tell
        )
        return settings
    file = resolved(space)
    if file.is_file():
        remember(str(file))
    return dataclasses.replace(settings, space=str(file))
