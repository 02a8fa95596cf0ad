"""Exports a trial of a search with all that its folder knows of it."""

from pathlib import Path

from perft.export import export_adapter, scores_of
from perft.searching.settings import SearchSettings
from perft.selection import confirmed, read_base, read_results
from perft.storage import Storage
from perft.trial import TrialResult


def export_trial(search: Storage, trial: TrialResult, out: Path, *, force: bool = False) -> Path:
    """Writes the adapter of a full-length trial, its model card and its record to `out`.

    Args:
        search: the search's folder.
        trial: the trial.
        out: the folder to make.
        force: replace an earlier export there.

    Returns:
        `out`, absolute.

    Raises:
        StorageError: when the adapter is not in the search's folder, when `out` holds something,
            or when it cannot be written.
    """
    return export_adapter(
        search,
        trial,
        SearchSettings.read(search).to_json(),
        out,
        scores=scores_of(search, trial),
        base_score=read_base(search),
        again=confirmed(read_results(search)).get(trial.number),
        force=force,
    )
