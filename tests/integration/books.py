"""What each book of a search says of its trials: Tune, Optuna, MLflow, the search's own files."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune import ExperimentAnalysis
from searches import REFERENCE

from perft.search_folder import BASE_FILE, SCORES_FILE
from perft.selection import read_results
from perft.storage import Storage
from perft.trial import TrialResult


@dataclass(frozen=True)
class Ended:
    """How one trial ended, as one book tells it.

    Attributes:
        outcome: "complete", "pruned" or "failed".
        losses: validation loss by step, in the order of reporting.
    """

    outcome: str
    losses: tuple[tuple[int, float], ...]


def results(home: Path, name: str) -> dict[int, Any]:
    """The search's own `results.json`, without what depends on the clock or on a run's id."""
    return {
        result.number: plain(result)
        for result in read_results(Storage(str(home / "searches" / name)))
    }


def plain(result: TrialResult) -> TrialResult:
    """A result without what depends on the clock or on a run's id."""
    reports = tuple(replace(report, tokens_per_second=0.0) for report in result.reports)
    return replace(result, run_id="", reports=reports)


def told_by_search(home: Path, name: str) -> dict[int, Ended]:
    return {
        number: Ended(result.outcome, tuple((r.step, r.val_loss) for r in result.reports))
        for number, result in results(home, name).items()
    }


def told_by_tune(home: Path, name: str) -> dict[int, Ended]:
    told = {}
    folder = home / "searches" / name / "tune"
    for trial in ExperimentAnalysis(str(folder)).trials:
        number = trial.config["number"]
        file = folder / f"trial-{number:04d}" / "result.json"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines]
        full = bool(rows) and rows[-1]["step"] == trial.config["trial"]["max_steps"]
        ways = {"ERROR": "failed", "TERMINATED": "complete" if full else "pruned"}
        told[number] = Ended(
            ways.get(trial.status, trial.status),
            tuple((row["step"], row["val_loss"]) for row in rows),
        )
    return told


def told_by_optuna(home: Path, name: str) -> dict[int, Ended]:
    ways = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    journal = JournalFileBackend(str(home / "searches" / name / "optuna.journal"))
    study = optuna.load_study(study_name=name, storage=JournalStorage(journal))
    return {
        trial.number: Ended(
            ways.get(trial.state, trial.state.name),
            tuple(
                (int(step), shown["val_loss"])
                for step, shown in trial.user_attrs.get("reports", {}).items()
            ),
        )
        for trial in study.trials
    }


def told_by_mlflow(home: Path, name: str) -> dict[int, Ended]:
    book = Book(home, name)
    return {
        number: Ended(run.data.tags["perft.outcome"], tuple(book.history(run, "val_loss")))
        for number, run in book.children.items()
    }


def same_as_undisturbed(home: Path, name: str, reference: Path) -> None:
    """Same trials, same numbers to the last bit, and told the same way by every book.

    Args:
        home: of the search `name`, which was disturbed.
        name: its name.
        reference: home of the search that was not.
    """
    assert results(home, name) == results(reference, REFERENCE)
    told = told_by_search(reference, REFERENCE)
    for book in (told_by_tune, told_by_optuna, told_by_mlflow):
        assert book(home, name) == told
    for file in (BASE_FILE, SCORES_FILE):
        scored = [home / "searches" / name / file, reference / "searches" / REFERENCE / file]
        assert scored[0].read_bytes() == scored[1].read_bytes(), file


class Book:
    """What MLflow has of one search; exactly one parent, and one child per number."""

    def __init__(self, home: Path, name: str) -> None:
        self.client = MlflowClient(f"sqlite:///{home}/mlflow.db")
        self._experiment = self.client.get_experiment_by_name("perft").experiment_id
        (self.parent,) = self._runs(f"tags.`perft.search` = '{name}'")
        runs = self._runs(f"tags.`mlflow.parentRunId` = '{self.parent.info.run_id}'")
        self.children = {int(run.data.tags["perft.trial"]): run for run in runs}
        assert len(self.children) == len(runs), "a trial has two runs"

    def _runs(self, query: str) -> list[Run]:
        return list(self.client.search_runs([self._experiment], query))

    def history(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """All recorded values, by step and time of recording."""
        points = self.client.get_metric_history(run.info.run_id, metric)
        ordered = sorted(points, key=lambda point: (point.step, point.timestamp))
        return [(point.step, point.value) for point in ordered]

    def artifacts(self, run: Run, folder: str | None = None) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id, folder)}

    def download(self, run: Run, path: str) -> bytes:
        return Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes()

    def everything(self) -> dict[int, Any]:
        """All that is recorded of the trials, times included."""
        return {
            number: (
                run.info.run_id,
                run.info.status,
                run.info.end_time,
                run.data.tags,
                run.data.params,
                {
                    key: [
                        (m.step, m.timestamp, m.value)
                        for m in self.client.get_metric_history(run.info.run_id, key)
                    ]
                    for key in run.data.metrics
                },
            )
            for number, run in sorted(self.children.items())
        }
