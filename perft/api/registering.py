"""Registers an exported adapter in the model registry beside its search's runs in MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING

from perft.export import scores_of
from perft.searching.settings import SearchSettings
from perft.selection import describe, format_score
from perft.selection.front import size_and_report
from perft.storage import Storage
from perft.tracking import tracker_of
from perft.tracking.records import Records, SearchRecord
from perft.trial import TrialResult

if TYPE_CHECKING:
    from perft.tracking.mlflow.registry import Registered, Registry

_MLFLOW = "mlflow"


def registry_for(search: Storage, trial: TrialResult, name: str) -> "Registry":
    """The registry for a trial, checked before anything is written.

    Args:
        search: the search's folder.
        trial: a full-length trial.
        name: of the registered model.

    Raises:
        ConfigError: if MLflow refuses the name.
        SearchError: if the trial has no run in MLflow.
        StorageError: if MLflow does not answer, or has no model registry.
    """
    from perft.tracking.mlflow.registry import Registry  # noqa: PLC0415 - MLflow is slow to import

    settings = SearchSettings.read(search)
    noted = settings.tracking_uri if settings.tracker == _MLFLOW else ""
    place = tracker_of(_MLFLOW).known_place(noted, settings.name)
    none = SearchRecord(name=settings.name, place=search.shown, params={})
    key = Records.read(search, none).search.key
    return Registry(place, search, key, trial.number, name)


def register(
    registry: "Registry", search: Storage, trial: TrialResult, folder: Path
) -> "Registered":
    """Registers the exported folder of a trial with its scores.

    Args:
        registry: from `registry_for`.
        search: the search's folder.
        trial: the trial.
        folder: that `export_trial` wrote.

    Raises:
        StorageError: if MLflow refuses it.
    """
    settings = SearchSettings.read(search)
    _, report = size_and_report(trial)
    score = f"accuracy {format_score(report)}" if report.scored else format_score(report)
    description = (
        f"{describe(trial.config)} on {settings.base_model or 'the built-in base'}, trial "
        f"{trial.number} of the perft search {settings.name}: validation {score}"
    )
    return registry.register(folder, model_tags(search, trial), description)


def model_tags(search: Storage, trial: TrialResult) -> dict[str, str]:
    """The scores of a trial with their 95% intervals, its size, and where it comes from."""
    size, report = size_and_report(trial)
    settings = SearchSettings.read(search)
    tags = {
        "perft.search": settings.name,
        "perft.trial": str(trial.number),
        "perft.variant": trial.config.adapter.variant,
        "activated_parameters": str(size.activated),
        "val_loss": f"{report.val_loss:.4f}",
    }
    for score in scores_of(search, trial):
        name = "accuracy" if score.split == "validation" else f"test_accuracy/{score.split}"
        tags[name] = f"{score.accuracy:.4f}"
        tags[f"{name}_interval"] = f"{score.low:.4f} to {score.high:.4f}"
    return tags
