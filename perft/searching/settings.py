"""The settings of a search: everything needed to run or resume it."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import perft
from perft.checks import (
    LARGEST_SEED,
    require_choice,
    require_name,
    require_positive,
    require_whole,
    shown,
)
from perft.config.typed import read_fields, typed
from perft.errors import ConfigError, SearchError
from perft.files import Json
from perft.masking import masked
from perft.models.precision import PRECISIONS
from perft.options import MAX_TRIALS
from perft.search_folder import SEARCH_FILE
from perft.searches import resume_command
from perft.searching.objectives import LOSS, OBJECTIVES
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.sampling.samplers import require_sampler
from perft.searching.steering.budget import Budget
from perft.selection import read_record
from perft.storage import Storage
from perft.tracking import DEFAULT as TRACKER
from perft.tracking import tracker_of

OBJECT = "SearchSpace object"
"""What stands for the space's name or file where a program gave an object."""

_PACKAGES = ("perft", "ray", "torch", "transformers", "optuna", "mlflow", "datasets")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that affect results."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package != "perft":
            raise
        return perft.__version__  # run from its source tree, without being installed


SMALLEST_PART = 0.0001
"""Ray's smallest fraction of a GPU."""


def _require_gpus(per_worker: float | None, workers: int) -> None:
    """Checks the GPUs per worker in a group of `workers`.

    Raises:
        ConfigError: if workers cannot train with that number.
    """
    if per_worker is None or per_worker == 0:
        return
    if not SMALLEST_PART <= per_worker <= 1:
        raise ConfigError(
            f"gpus_per_worker is {per_worker:g}, wanted 0 for CPUs, 1, or a part of one from "
            f"{SMALLEST_PART} on: a worker trains on one GPU; a larger base is shared among more "
            "--workers-per-group"
        )
    if per_worker < 1 and workers > 1:
        raise ConfigError(
            f"gpus_per_worker is {per_worker:g}, and the {workers} workers of a group cannot share "
            "a GPU; make it 1, or --workers-per-group 1"
        )


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """One search.

    Attributes:
        name: unique in its storage.
        space: name of the search space, or the absolute path of its file, or `OBJECT`.
        task: name of the task.
        base_model: None for the built-in base, else a local directory or a hub id.
        base_fingerprint: hash of the base.
        data: None for the built-in task, else a directory in the LLM-Adapters layout.
        data_fingerprint: hash of the data.
        validation_size: number of validation examples.
        storage: the storage that holds searches, without passwords and keys.
        tracking_uri: where its tracker shows the search, without passwords and keys; empty for a
            tracker that needs no place.
        num_trials: trials to draw; None for as many as the budget has room for.
        max_steps: optimiser steps of a full-length trial.
        rungs: steps after which a trial reports; the last is `max_steps`.
        groups: number of worker groups; None until the search has seen its cluster.
        workers_per_group: processes that share one base.
        slots: trials that one group trains together; None as for `groups`.
        gpus_per_worker: 1, a fraction that groups of one worker share, or 0 for CPUs; None as for
            `groups`.
        seed: seeds the proposals, the adapters and the order of the data.
        dtype: dtype of the base, or "auto".
        experts: how the base's experts are computed, as `load_base` takes it.
        quantize: how the base's large weights are held, as `load_base` takes it.
        checkpointing: whether the base's layers are recomputed in the backward pass.
        compile: whether the base is compiled; None for only on GPUs.
        rung_accuracy: whether trials generate answers at every rung, not only at full length.
        other_texts: texts of which it is measured what full-length trials forget.
        router_measures: whether the routers of full-length trials are measured.
        sampler: what proposes trials, a name as `make_sampler` takes it.
        pruner: what stops trials at rungs, a name of `PRUNERS`.
        objective: what both aim at, a name of `OBJECTIVES`; earlier searches aimed at the loss.
        second_chances: stopped trials that are continued once no new ones are drawn.
        confirmations: trainings with other seeds of each trial on the front.
        max_activated: limit on activated parameters of what is proposed, as `ActivatedLimit` reads
            it; None for none.
        warm_start: names of the earlier searches that it started from.
        budget: what the search may use in all, beside its number of trials.
        versions: of the packages that affect results.
        tracker: name of the tracker.
        system_metrics: whether MLflow shows load and memory of the driver's machine.
        space_code: hashes of the space's code, from `space_code`; empty if not recorded.
    """

    name: str
    space: str
    task: str
    base_model: str | None
    base_fingerprint: str
    data: str | None
    data_fingerprint: str
    validation_size: int
    storage: str
    tracking_uri: str
    num_trials: int | None
    max_steps: int
    rungs: tuple[int, ...]
    groups: int | None
    workers_per_group: int
    slots: int | None
    seed: int
    dtype: str = "auto"
    experts: str = "auto"
    quantize: str = "none"
    checkpointing: bool = False
    compile: bool | None = None
    rung_accuracy: bool = True
    other_texts: tuple[str, ...] = ()
    router_measures: bool = False
    sampler: str = "tpe"
    pruner: str = "asha"
    objective: str = LOSS
    second_chances: int = 0
    confirmations: int = 0
    max_activated: str | None = None
    warm_start: tuple[str, ...] = ()
    gpus_per_worker: float | None = None
    tracker: str = TRACKER
    system_metrics: bool = False
    budget: Budget = field(default_factory=Budget)
    versions: Mapping[str, str] = field(default_factory=installed_versions)
    space_code: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_name("name", self.name)
        for name in ("num_trials", "groups", "workers_per_group", "slots", "validation_size"):
            value = getattr(self, name)
            if value is not None:
                require_positive(name, value)
        require_positive("max_steps", self.max_steps)
        require_whole("seed", self.seed, 0, LARGEST_SEED)
        if list(self.rungs) != sorted({*self.rungs, self.max_steps}) or self.rungs[0] < 1:
            raise ConfigError(
                f"rungs must ascend from at least 1 to max_steps, found {shown(list(self.rungs))}"
            )
        require_sampler(self.sampler)
        require_choice("pruner", self.pruner, PRUNERS)
        require_choice("objective", self.objective, OBJECTIVES)
        require_choice("quantize", self.quantize, PRECISIONS)
        require_whole("second_chances", self.second_chances, 0)
        require_whole("confirmations", self.confirmations, 0)
        self.budget.require_length(self.max_steps)
        if self.gpus_per_worker is not None:
            self.budget.require_gpus(self.gpus_per_worker)
        if self.num_trials is None and not self.budget.is_bounded:
            raise ConfigError("num_trials must be there where no budget bounds the search")
        _require_gpus(self.gpus_per_worker, self.workers_per_group)
        tracker_of(self.tracker)

    @property
    def most_trials(self) -> int:
        """Trials that are drawn at most."""
        return MAX_TRIALS if self.num_trials is None else self.num_trials

    def resume_by(self, root: str) -> str:
        """How the user resumes the search: a command or, where a program has its space, a call.

        Args:
            root: the storage that holds it.
        """
        if self.space == OBJECT:
            return self.call_to_resume(root)
        return resume_command(self.name, root)

    def call_to_resume(self, root: str) -> str:
        """The call in Python that resumes the search."""
        space = "space, " if self.space == OBJECT else ""
        is_known = "--storage" not in resume_command(self.name, root).split()
        storage = "" if is_known else f", storage={masked(root)!r}"
        return f"perft.search({space}resume={self.name!r}{storage})"

    def to_json(self) -> dict[str, Json]:
        """The settings as a dictionary of JSON values."""
        return dataclasses.asdict(self)

    def write(self, search: Storage) -> None:
        """Writes the settings into the search's folder."""
        search.write(SEARCH_FILE, json.dumps(self.to_json(), indent=1).encode())

    @classmethod
    def read(cls, search: Storage) -> "SearchSettings":
        """Reads what `write` wrote, also in an earlier version with fewer settings.

        Raises:
            SearchError: if another version wrote settings that this one does not know.
            DamagedError: if the file is not what was written; names the field that is wrong.
        """
        return read_record(search, SEARCH_FILE, lambda value: cls._of(value, search.shown))

    @classmethod
    def _of(cls, value: object, place: str) -> "SearchSettings":
        flat = {"versions": {}, **typed(Mapping[str, object], value, "")}
        known = {each.name for each in dataclasses.fields(cls)}
        if unknown := sorted(flat.keys() - known):
            versions = typed(Mapping[str, str], flat["versions"], "versions")
            raise SearchError(
                f"{place}/{SEARCH_FILE} is of another version of perft, "
                f"{versions.get('perft', 'unknown')}: {perft.__version__} does not know "
                f"{', '.join(unknown)}; resume the search with the version that started it"
            )
        return read_fields(cls, flat)


def tracking_uri_of(settings: SearchSettings) -> str:
    """Where the tracker shows a search that was started before.

    Raises:
        SearchError: if that place needs a login, which is never stored.
    """
    return tracker_of(settings.tracker).known_place(settings.tracking_uri, settings.name)
