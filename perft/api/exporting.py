"""Exports a trial of a search with all that its folder knows of it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perft.adapter_folder import BLOCK, CONFIG
from perft.errors import DamagedError
from perft.export import export_adapter, scores_of
from perft.export.front_matter import license_of
from perft.export.prompt import extras_of_task
from perft.files import RECORD_BYTES, parse_json
from perft.search_folder import adapter_folder
from perft.searching.settings import SearchSettings
from perft.searching.steering.stopwatch import read_spent
from perft.selection import confirmed, read_base, read_results
from perft.storage import Storage
from perft.trial import TrialResult


def export_trial(
    search: Storage,
    trial: TrialResult,
    out: Path,
    *,
    force: bool = False,
    license: str | None = None,
    example: bool = True,
    repo: str | None = None,
) -> Path:
    """Writes the adapter of a full-length trial, its model card and its record to `out`.

    Args:
        search: the search's folder.
        trial: the trial.
        out: the folder to make.
        force: replace an earlier export there.
        license: the adapter's, for the card; None for the base's, where that is known.
        example: whether the card shows an example of the validation split.
        repo: where on the hub the folder will go, which the card's lines then name.

    Returns:
        `out`, absolute.

    Raises:
        StorageError: when the adapter is not in the search's folder, when `out` holds something,
            or when it cannot be written.
    """
    settings, spent = SearchSettings.read(search), read_spent(search)
    owner = Path(search.shown) / adapter_folder(trial.number)
    known = extras_of_task(_trained_on(search, trial.number), owner, with_example=example)
    extras = dataclasses.replace(
        known,
        license=license or license_of(settings.base_model),
        seconds=spent.seconds,
        gpu_seconds=spent.gpu_seconds,
        repo=repo,
    )
    return export_adapter(
        search,
        trial,
        settings.to_json(),
        out,
        scores=scores_of(search, trial),
        base_score=read_base(search),
        again=confirmed(read_results(search)).get(trial.number),
        extras=extras,
        force=force,
    )


def _trained_on(search: Storage, number: int) -> Mapping[str, Any] | None:
    """What the adapter in the search's folder says of its task; None if it says nothing."""
    for name in (BLOCK, CONFIG):
        file = f"{adapter_folder(number)}/{name}"
        if not search.exists(file):
            continue
        try:
            found = parse_json(search.read(file, at_most=RECORD_BYTES))
        except ValueError as error:
            raise DamagedError(f"{search.shown}/{file} is damaged: {error}") from error
        block = found.get("perft", found) if isinstance(found, dict) else None
        record = block.get("trained_on") if isinstance(block, dict) else None
        if isinstance(record, dict):
            return record
    return None
