"""Exports a trial, and sends it where its users look: MLflow's registry, the hub."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perft.api.exporting import export_trial
from perft.api.registering import register, registry_for
from perft.errors import ConfigError
from perft.export.front_matter import require_license
from perft.searching.settings import SearchSettings
from perft.storage import Storage
from perft.trial import TrialResult

if TYPE_CHECKING:
    from perft.tracking.mlflow.registry import Registered


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an export is to be.

    Attributes:
        out: the folder to make.
        force: replace an earlier export there.
        license: the adapter's, as the hub names it; None for the base's, where that is known.
        example: whether the card shows an example of the validation split.
        register: the model of MLflow's registry that gets it as its next version; None for none.
        repo: the repository of the hub that gets it; None for none.
        private: whether a new repository is a private one.
    """

    out: Path
    force: bool = False
    license: str | None = None
    example: bool = True
    register: str | None = None
    repo: str | None = None
    private: bool = False

    def __post_init__(self) -> None:
        if self.license is not None:
            require_license(self.license)
        if self.private and self.repo is None:
            raise ConfigError("--private makes a repository of the hub private; add --push-to-hub")


@dataclass(frozen=True)
class Published:
    """Where an export is.

    Attributes:
        folder: the folder, absolute.
        registered: its version in MLflow's registry; None if it is not there.
        repo: its address on the hub; None if it is not there.
    """

    folder: Path
    registered: "Registered | None"
    repo: str | None


def publish(
    search: Storage,
    trial: TrialResult,
    wanted: Wanted,
    *,
    tell: Callable[[str], None] = lambda _line: None,
    progress: bool = False,
) -> Published:
    """Exports a full-length trial; name, login and registry are checked before it is written.

    Args:
        search: the search's folder.
        trial: the trial.
        wanted: what to make of it.
        tell: shows the user a line.
        progress: whether to show how far files are sent to the hub.

    Raises:
        ConfigError: if MLflow or the hub refuses the name, or nobody is logged in at the hub.
        SearchError: if the trial is to be registered and has no run in MLflow.
        StorageError: if the adapter is not in the search's folder, if `out` holds something or
            cannot be written, or if MLflow or the hub does not answer.
    """
    from perft.export.hub import push, require_login  # noqa: PLC0415 - slow to import

    registry = registry_for(search, trial, wanted.register) if wanted.register is not None else None
    if wanted.repo is not None:
        require_login(wanted.repo)
    folder = export_trial(
        search,
        trial,
        wanted.out,
        force=wanted.force,
        license=wanted.license,
        example=wanted.example,
        repo=wanted.repo,
    )
    registered = register(registry, search, trial, folder) if registry else None
    repo = None
    if wanted.repo is not None:
        tell(f"sends to {wanted.repo}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
        message = f"Trial {trial.number} of search {SearchSettings.read(search).name}"
        repo = push(folder, wanted.repo, private=wanted.private, message=message, progress=progress)
    return Published(folder, registered, repo)
