"""What a search was asked to do: everything that is needed to run it, or to run it again."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import perft
from perft.errors import ConfigError, DamagedError
from perft.packing.places import SETTINGS
from perft.storage import Storage

FILE = SETTINGS
_PACKAGES = ("perft", "ray", "torch", "transformers", "optuna", "mlflow", "datasets")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that shape a result."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package != "perft":
            raise
        return perft.__version__  # run from its source tree, without being installed


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """One search.

    Attributes:
        name: unique in its storage.
        space: name of the search space, or the absolute path of its file.
        task: name of the task.
        base_model: None for the embedded base, else a local directory or a hub id.
        base_fingerprint: tells the base from every other one.
        data: None for the embedded task, else a directory in the LLM-Adapters layout.
        data_fingerprint: tells the data from any other.
        validation_size: validation examples.
        storage: the place that holds searches.
        tracking_uri: MLflow's.
        num_trials: trials in all.
        max_steps: optimiser steps of a full-length trial.
        rungs: steps after which a trial reports; the last is `max_steps`.
        groups: worker groups; None until the search has seen its cluster.
        workers_per_group: processes that share one base.
        slots: trials that one group trains together; None as for `groups`.
        seed: seeds the proposals, the adapters and the order of the data.
        dtype: dtype of the base, or "auto".
        experts: how the base's experts are computed, as `load_base` takes it.
        checkpointing: whether the base's layers run again in the backward pass.
        compile: whether the base is compiled; None for yes on GPUs alone.
        rung_accuracy: whether trials generate answers at every rung, not only at full length.
        versions: of the packages that shape a result.
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
    num_trials: int
    max_steps: int
    rungs: tuple[int, ...]
    groups: int | None
    workers_per_group: int
    slots: int | None
    seed: int
    dtype: str = "auto"
    experts: str = "auto"
    checkpointing: bool = False
    compile: bool | None = None
    rung_accuracy: bool = True
    versions: Mapping[str, str] = field(default_factory=installed_versions)

    def __post_init__(self) -> None:
        for name in ("num_trials", "groups", "workers_per_group", "slots", "validation_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, found {value}")

    def to_json(self) -> dict[str, Any]:
        """The settings as a dictionary of JSON values."""
        return dataclasses.asdict(self)

    def write(self, search: Storage) -> None:
        """Writes the settings into the search's folder."""
        search.write(FILE, json.dumps(self.to_json(), indent=1).encode())

    @classmethod
    def read(cls, search: Storage) -> "SearchSettings":
        """Reads what `write` wrote.

        Raises:
            DamagedError: if it is not what was written.
        """
        try:
            flat = json.loads(search.read(FILE))
            if not isinstance(flat["space"], str):
                raise TypeError(f"its space is {flat['space']!r}")
            return cls(**{**flat, "rungs": tuple(flat["rungs"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{search.shown}/{FILE} is damaged: {error!r}") from error
