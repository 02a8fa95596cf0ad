"""What a search has found, read from its folder: also while it runs, and after its process."""

from collections import Counter
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from perft.api.publishing import Wanted, publish
from perft.base_score import BaseScore
from perft.errors import SearchError
from perft.search_folder import OPTUNA_FILE
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.selection import (
    ActivatedLimit,
    describe,
    format_score,
    pareto_front,
    pick,
    picked_of,
    read_all_scores,
    read_base,
    read_results,
    to_frame,
)
from perft.selection.hypervolume import hypervolume_of, reference_for
from perft.storage import Storage
from perft.trial import SplitScores, TrialResult

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

_SHOWN = (
    "number",
    "accuracy",
    "val_loss",
    "activated",
    "activated_percent",
    "variant",
    "rank",
    "lr",
)
"""Columns of the front that a notebook shows."""


def results(name: str, storage: str | Path | None = None) -> "Results":
    """The results of a search, which may still run.

    Args:
        name: the search's.
        storage: the directory or URI that holds it; None to look in all that this machine has used.

    Raises:
        SearchError: if there is no such search, or there are several.
    """
    return Results(find_search(name, None if storage is None else str(storage)))


class Results:
    """The trials of a search, its front and its picks.

    Each attribute reads the search's folder anew, so that those of a running search follow it.

    Args:
        search: the search's folder.
    """

    def __init__(self, search: Storage) -> None:
        self._search = search
        self._settings = SearchSettings.read(search)

    @property
    def name(self) -> str:
        """The search's name."""
        return self._settings.name

    @property
    def folder(self) -> str:
        """The search's folder, a path or URI without passwords and keys."""
        return self._search.shown

    @property
    def trials(self) -> pd.DataFrame:
        """All trials that have ended, one row each: outcome, scores, sizes and every setting.

        `perft.selection.table.to_frame` documents the columns. A setting that a trial's variant
        does not have is missing.
        """
        return to_frame(self._trials(), self.base)

    @property
    def front(self) -> pd.DataFrame:
        """The rows of `trials` that are on the Pareto front, smallest adapter first."""
        frame = self.trials
        if frame.empty:
            return frame
        return frame[frame["on_front"]].sort_values("activated", ignore_index=True)

    @property
    def best(self) -> TrialResult:
        """The most accurate trial of the front.

        Raises:
            SearchError: if no trial has reached its full length.
        """
        return pick(self._trials(), "best")

    @property
    def knee(self) -> TrialResult:
        """The trial of the front after which more parameters pay less.

        Raises:
            SearchError: if no trial has reached its full length.
        """
        return pick(self._trials(), "knee")

    @property
    def base(self) -> BaseScore | None:
        """The score of the base alone; None before the search's end."""
        return read_base(self._search)

    @property
    def scores(self) -> dict[int, SplitScores]:
        """Correct and scored test examples by trial and split: of the best trial and the knee.

        Empty before the search's end.
        """
        return read_all_scores(self._search)

    @property
    def hypervolume(self) -> float | None:
        """The front's hypervolume in [0, 1], as `perft pareto` prints it; None without a front."""
        trials = self._trials()
        reference = reference_for(trials, is_builtin=self._settings.base_model is None)
        return None if reference is None else hypervolume_of(trials, reference)

    @property
    def study(self) -> "optuna.Study":
        """The search's Optuna study, for Optuna's own tools; nothing is read back from it.

        Raises:
            SearchError: if the search is in an object store, which has no file for Optuna.
        """
        from perft.searching.sampling.record import load_study  # noqa: PLC0415 - optuna is slow

        folder = self._search.folder
        if folder is None or not (folder / OPTUNA_FILE).is_file():
            raise SearchError(
                f"search {self.name!r} has no {OPTUNA_FILE}: Optuna keeps a study on a disk, and "
                f"the search is in {self.folder}; use .trials"
            )
        return load_study(folder / OPTUNA_FILE, self.name)

    def plot(self) -> "go.Figure":
        """The Pareto front, with the points that `pareto.html` of the search's folder shows.

        Raises:
            SearchError: if no trial has reached its full length.
        """
        from perft.selection.plots.interactive import front_figure  # noqa: PLC0415 - slow to import

        trials = self._trials()
        pick(trials, "best")
        return front_figure(trials, self.base, f"{self.name}: {self._settings.task}")

    def export(
        self,
        trial: str | int = "best",
        *,
        out: str | Path,
        max_activated: str | None = None,
        force: bool = False,
        license: str | None = None,
        example: bool = True,
        register: str | None = None,
        push_to_hub: str | None = None,
        private: bool = False,
    ) -> Path:
        """Exports the adapter of a trial with its model card; the folder loads as any adapter's.

        Args:
            trial: "best", "knee", the number of a trial, or its MLflow run id.
            out: the folder to make.
            max_activated: leaves out the trials that activate more parameters per token: "0.1%" of
                the base's, or a number such as "590000".
            force: replace an earlier export in `out`.
            license: the adapter's on its card, as the hub names it: "apache-2.0", "mit", ...; None
                for the base's, where that is known.
            example: whether the card shows an example of the data.
            register: name of a model of MLflow's registry that gets the adapter as its next
                version, with the alias `champion`; None for none.
            push_to_hub: repository of the Hugging Face hub that gets the folder, "owner/name", with
                the token of its login or HF_TOKEN; None for none.
            private: makes a new repository of the hub a private one.

        Returns:
            `out`, absolute.

        Raises:
            ConfigError: if MLflow or the hub refuses a name, or nobody is logged in at the hub.
            SearchError: if there is no such trial, says which there are; or if it is to be
                registered and has no run in MLflow.
            StorageError: if `out` holds something else, or cannot be written; or if MLflow or the
                hub does not answer, or MLflow has no registry.
        """
        limit = ActivatedLimit.parse(max_activated) if max_activated else None
        picked = pick(self._trials(), str(trial), limit)
        wanted = Wanted(
            out=Path(out),
            force=force,
            license=license,
            example=example,
            register=register,
            repo=push_to_hub,
            private=private,
        )
        return publish(self._search, picked, wanted).folder

    def __repr__(self) -> str:
        trials = self._trials()
        outcomes = Counter(trial.outcome for trial in trials)
        counts = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        parts = [f"{len(trials)} trials" + (f" ({counts})" if counts else "")]
        if picked := picked_of(trials):
            best = picked.best
            assert best.last is not None, "a full-length trial has a report"
            parts += [
                f"front of {len(pareto_front(trials))}",
                f"best {format_score(best.last)} trial {best.number} {describe(best.config)}",
            ]
        return f"<Results of {self.name}: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        front = self.front
        columns = [name for name in _SHOWN if name in front]
        table = front[columns].to_html(index=False, na_rep="", float_format="{:.4g}".format)
        return f"<p>{escape(repr(self))}</p>{table}"

    def _trials(self) -> list[TrialResult]:
        return read_results(self._search)
