"""Checks a new search before a worker starts, and makes its settings."""

from dataclasses import dataclass, field, replace

from perft.checks import require_choice
from perft.errors import ConfigError, SearchError
from perft.files import resolved
from perft.home import default_storage, remember_place
from perft.masking import masked
from perft.models.precision import NONE, require_precision
from perft.models.source import (
    base_directory,
    check_base,
    fingerprint,
    is_tiny,
    layer_count,
)
from perft.search_folder import SEARCH_FILE
from perft.searches import (
    fresh_name,
    remember_search,
    require_name,
    resume_command,
)
from perft.searching.base import require_base, require_experts, with_base_template
from perft.searching.extent import extent_of
from perft.searching.given_space import GivenSpace, given_space
from perft.searching.objectives import ACCURACY, DEFAULT_OBJECTIVE, OBJECTIVES
from perft.searching.other_texts import other_text_sources
from perft.searching.pruning.pruners import DEFAULT_PRUNERS, PRUNERS
from perft.searching.sampling.points import drafts_at
from perft.searching.sampling.samplers import DEFAULT_SAMPLER, require_installed, require_sampler
from perft.searching.sampling.sizes import require_within
from perft.searching.sampling.warm_start import Basis, read_earlier, write_earlier
from perft.searching.second_chances import default_chances
from perft.searching.settings import SearchSettings
from perft.searching.space import Draw, SearchSpace
from perft.searching.stages import During, quietly
from perft.searching.steering.budget import Budget
from perft.searching.steering.events import Command
from perft.searching.trust import remember
from perft.storage import Storage
from perft.tasks import TaskSource, load_task, root_of
from perft.tracking import DEFAULT as TRACKER
from perft.tracking import Dataset, datasets_of, tracker_of


@dataclass(frozen=True)
class SearchPlan:
    """A search that is ready to run.

    Attributes:
        settings: its settings.
        draw: draws its trials.
        given: the space that it draws them from.
        source: where its task comes from.
        search: its folder.
        root: the storage that holds the folder.
        tracking_uri: where its tracker shows it, login included.
        resume: whether it was started before.
        commands: what the search is told when it resumes.
        datasets: the splits of its task, for its records.
    """

    settings: SearchSettings
    draw: Draw
    given: GivenSpace
    source: TaskSource
    search: Storage
    root: str
    tracking_uri: str
    resume: bool
    commands: tuple[Command, ...] = ()
    datasets: tuple[Dataset, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The user's options; None leaves a choice to the space, the budget or the default."""

    space: str | SearchSpace
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
    gpus_per_worker: float | None = None
    seed: int = 0
    dtype: str = "auto"
    experts: str = "auto"
    quantize: str = "none"
    checkpointing: bool = False
    compile: bool | None = None
    rung_accuracy: bool | None = None
    other_texts: tuple[str, ...] | None = None
    sampler: str = DEFAULT_SAMPLER
    pruner: str | None = None
    objective: str = DEFAULT_OBJECTIVE
    second_chances: int | None = None
    confirmations: int = 0
    max_activated: str | None = None
    warm_start: tuple[str, ...] = ()
    tracker: str = TRACKER
    system_metrics: bool = False
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        require_choice("objective", self.objective, OBJECTIVES)
        require_sampler(self.sampler)
        require_installed(self.sampler)
        if self.system_metrics and self.tracker != TRACKER:
            raise ConfigError(
                f"--system-metrics is for the tracker {TRACKER}, found --tracker {self.tracker}; "
                "leave one of them out"
            )
        if self.pruner is not None:
            require_choice("pruner", self.pruner, PRUNERS)


def prepare(request: SearchRequest, during: During = quietly) -> SearchPlan:
    """Checks a new search and makes its folder.

    Args:
        request: the user's options.
        during: shows what takes long.

    Raises:
        PerftError: if space, base, data, storage, name or an earlier search cannot work; the first
            of them.
    """
    if request.name is not None:
        require_name(request.name)
    tracker = tracker_of(request.tracker)
    given = given_space(request.space)
    space = given.space
    base_model = _absolute(request.base_model)
    data = _absolute(request.data)
    root = Storage(default_storage() if request.storage is None else request.storage)
    if request.name is not None:
        _require_new(root, request.name)
    with during("reading the base"):
        check_base(base_model)
        base_fingerprint = fingerprint(base_directory(base_model))
    require_precision(request.quantize, compile=request.compile, workers=request.workers_per_group)
    require_experts(request.experts, training=True, quantize=request.quantize)
    source = with_base_template(
        space.source(data, request.validation_size, request.seed), base_model
    )
    with during("reading the task"):
        task = load_task(source)
    with during("checking the base and its tokenizer"):
        require_base(base_model, task.splits)
    draw = Draw(space, is_tiny(base_model), request.seed, request.max_steps)
    extent = extent_of(draw)
    draw = replace(draw, max_steps=extent.max_steps)  # as after a resume
    rungs = space.steps_of_rungs(extent.max_steps)
    drafts_at(draw, space.points)
    require_within(draw, base_model, request.max_activated)
    _require_rows(extent.smallest_batch, request.workers_per_group)
    if (layers := layer_count(base_model)) is not None:
        extent.require_layers(layers)
    code = given.code()
    basis = Basis(
        space=given.name,
        space_code=code,
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        data_fingerprint=task.fingerprint,
        rungs=rungs,
    )
    earlier = read_earlier(request.warm_start, basis)
    tracking_uri = tracker.new_place()
    name = request.name or fresh_name(root, given.stem)
    num_trials = _num_trials(request, space)
    settings = SearchSettings(
        name=name,
        space=given.name,
        task=source.name,
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        data=data,
        data_fingerprint=task.fingerprint,
        validation_size=request.validation_size,
        storage=root.shown,
        tracker=request.tracker,
        system_metrics=request.system_metrics,
        tracking_uri=masked(tracking_uri),
        num_trials=num_trials,
        max_steps=rungs[-1],
        rungs=rungs,
        groups=request.groups,
        workers_per_group=request.workers_per_group,
        slots=request.slots,
        gpus_per_worker=request.gpus_per_worker,
        seed=request.seed,
        dtype=request.dtype,
        experts=request.experts,
        quantize=request.quantize,
        checkpointing=request.checkpointing,
        compile=request.compile if request.quantize == NONE else False,
        rung_accuracy=_rung_accuracy(request),
        other_texts=other_text_sources(request.other_texts, space),
        router_measures=space.study is not None and space.study.router_measures,
        sampler=request.sampler,
        pruner=request.pruner or DEFAULT_PRUNERS[request.objective],
        objective=request.objective,
        second_chances=(
            default_chances(num_trials or space.num_trials)
            if request.second_chances is None
            else request.second_chances
        ),
        confirmations=request.confirmations,
        budget=request.budget,
        max_activated=request.max_activated,
        warm_start=request.warm_start,
        space_code=code,
    )
    if given.file:
        remember(given.file)
    remember_paths(settings, source)
    search = root.child(name).prepare()
    write_earlier(search, earlier)
    remember_search(name, root.uri)
    return SearchPlan(
        settings,
        draw,
        given,
        source,
        search,
        root.uri,
        tracking_uri,
        resume=False,
        datasets=datasets_of(task, source),
    )


def _rung_accuracy(request: SearchRequest) -> bool:
    """Whether trials generate answers at every rung.

    By default only where rungs compare accuracies, and on tiny bases alone: even there
    answers take as long as six training steps, and on a real base longer than a whole rung.
    """
    if request.rung_accuracy is not None:
        return request.rung_accuracy
    return request.objective == ACCURACY and is_tiny(request.base_model)


def remember_paths(settings: SearchSettings, source: TaskSource) -> None:
    """Notes where base and data are: an exported adapter does not record it."""
    remember_place(settings.base_fingerprint, base_directory(settings.base_model))
    if root := root_of(source):
        remember_place(settings.data_fingerprint, root)


def _num_trials(request: SearchRequest, space: SearchSpace) -> int | None:
    """Trials to draw: those that the user asks for, or the space's if no budget bounds them."""
    if request.num_trials is None and not request.budget.is_bounded:
        return space.num_trials
    return request.num_trials


def _require_new(root: Storage, name: str) -> None:
    if root.exists(f"{name}/{SEARCH_FILE}"):
        resume_by = resume_command(name, root.uri)
        raise SearchError(
            f"a search named {name!r} exists in {root.shown}; choose another --name, or "
            f"resume it by: {resume_by}"
        )


def _require_rows(batch_size: int, workers: int) -> None:
    if workers > batch_size:
        raise ConfigError(
            f"{workers} workers per group cannot share batches of {batch_size} examples, every "
            "worker needs one; lower --workers-per-group or raise the space's batch_size"
        )


def _absolute(place: str | None) -> str | None:
    """A local directory by its absolute path, which means the same in every process."""
    if place is None or not (found := resolved(place)).exists():
        return place
    return str(found)
