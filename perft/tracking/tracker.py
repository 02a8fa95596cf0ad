"""Records a search in MLflow while it runs, one parent run and one child run per trial.

Every call may be repeated, also by another process after a resume: what is already recorded is
not recorded again. One process at a time records a search.
"""

import math
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from perft.tracking.place import connect, place_errors
from perft.trial import AdapterSize, Report, TrialConfig, TrialResult

SEARCH, STORAGE, TRIAL = "perft.search", "perft.storage", "perft.trial"
VARIANT, OUTCOME, ON_FRONT = "perft.variant", "perft.outcome", "perft.front"
_SIZE = "activated_parameters"  # recorded once per trial: its presence says that the sizes are
_LOSS = "val_loss"  # part of every report, always finite: its steps are those recorded
_LONGEST = 5000  # characters of a tag or parameter; MLflow refuses more than 6000


class _Child:
    """What a trial's run holds already; `steps` is None until they are looked up."""

    def __init__(self, run: Run, steps: set[int] | None) -> None:
        self.run_id: str = run.info.run_id
        self.configured = bool(run.data.params)
        self.sized = _SIZE in run.data.metrics
        self.outcome: str | None = run.data.tags.get(OUTCOME)
        self.steps = steps


class Tracker:
    """The runs of one search.

    Raises:
        StorageError: from every method, when the store does not take what it is given.
    """

    def __init__(self, client: MlflowClient, tracking_uri: str, experiment: str, run: Run) -> None:
        self.tracking_uri = tracking_uri
        self.run_id: str = run.info.run_id
        self._client = client
        self._experiment = experiment
        self._children: dict[int, _Child] = {}

    @classmethod
    def open(
        cls,
        tracking_uri: str,
        search: str,
        *,
        storage: str,
        resume: bool,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> "Tracker":
        """Starts the parent run of a search, or goes on with it.

        Args:
            tracking_uri: an MLflow server or a SQLite file (`sqlite:////absolute/path`), which
                is made when it is not there; artifacts of the latter lie beside it.
            search: the search's name.
            storage: the search's folder; with the name it tells searches apart.
            resume: go on with the newest parent run of that search, if there is one.
            params: what the search was asked to do; uploaded as `search.json`.
            tags: further tags of the parent run.

        Raises:
            StorageError: when the store or its artifacts cannot be written.
        """
        client, experiment = connect(tracking_uri)
        with place_errors(tracking_uri):
            run = _newest_parent(client, experiment, search, storage) if resume else None
            if run is None:
                own = {SEARCH: search, STORAGE: storage}
                run = client.create_run(experiment, run_name=search, tags={**tags, **own})
            # Also proves, before any work is done, that artifacts can be stored.
            client.log_dict(run.info.run_id, dict(params), "search.json")
            tracker = cls(client, tracking_uri, experiment, run)
            if resume:
                client.update_run(run.info.run_id, status="RUNNING")
                tracker._find_children()
        return tracker

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Records the parent run's parameters; uploads them in full as `search.json`.

        What has changed since the search was started, as how many trials it has, only the file
        says: MLflow's parameters never change.
        """
        with place_errors(self.tracking_uri):
            known = self._client.get_run(self.run_id).data.params
            new = {name: value for name, value in params.items() if name not in known}
            self._client.log_batch(self.run_id, params=_params(new))
            self._client.log_dict(self.run_id, dict(params), "search.json")

    def start_trial(self, number: int, config: TrialConfig) -> str:
        """The id of the trial's run, which is started if it is not there yet."""
        with place_errors(self.tracking_uri):
            child = self._children.get(number) or self._start(number, config.adapter.variant)
            if not child.configured:
                self._client.log_batch(child.run_id, params=_params(config.to_flat()))
                child.configured = True
        return child.run_id

    def log_size(self, number: int, size: AdapterSize) -> None:
        """Records the parameter counts as metrics, so that they can be an axis of a plot."""
        child = self._children[number]
        if child.sized:
            return
        values = {
            "trainable_parameters": size.trainable,
            _SIZE: size.activated,
            "trainable_percent": size.trainable_percent,
            "activated_percent": size.activated_percent,
        }
        base = Param("base_activated_parameters", str(size.base_activated))
        with place_errors(self.tracking_uri):
            self._client.log_batch(child.run_id, metrics=_metrics(values, 0), params=[base])
        child.sized = True

    def report(self, number: int, report: Report) -> None:
        """Records a report at its step; values that are not finite are left out."""
        child = self._children[number]
        with place_errors(self.tracking_uri):
            if child.steps is None:
                history = self._client.get_metric_history(child.run_id, _LOSS)
                child.steps = {metric.step for metric in history}
            if report.step not in child.steps:
                self._client.log_batch(child.run_id, metrics=_metrics(_values(report), report.step))
                child.steps.add(report.step)

    def finish_trial(self, result: TrialResult, adapter: Mapping[str, bytes] | None = None) -> str:
        """Ends the trial's run and returns its id; completes whatever is not recorded yet.

        Args:
            result: how the trial ended, with all its reports.
            adapter: the adapter's files by name, for a full-length trial.
        """
        run_id = self.start_trial(result.number, result.config)
        if result.size:
            self.log_size(result.number, result.size)
        for report in result.reports:
            self.report(result.number, report)
        child = self._children[result.number]
        if child.outcome == result.outcome:
            return run_id
        tags = {OUTCOME: result.outcome, MLFLOW_RUN_NOTE: result.error[-_LONGEST:]}
        with place_errors(self.tracking_uri):
            if adapter:
                self._upload(run_id, adapter, "adapter")
            status = "FAILED" if result.outcome == "failed" else "FINISHED"
            self._client.set_terminated(run_id, status)
            # Last, because the outcome says that all the rest is recorded.
            self._client.log_batch(run_id, tags=[RunTag(*tag) for tag in tags.items()])
        child.outcome = result.outcome
        return run_id

    def log_scores(
        self,
        number: int,
        scores: Mapping[str, tuple[int, int]],
        predictions: Mapping[str, bytes],
    ) -> None:
        """Records test scores of a trial.

        Args:
            number: the trial's.
            scores: correct and scored examples by name of the split.
            predictions: uploaded to the trial's folder `predictions`, by name.
        """
        values: dict[str, float] = {}
        for split, (correct, scored) in scores.items():
            values[f"test_accuracy/{split}"] = correct / scored if scored else 0.0
            values[f"test_correct/{split}"] = correct
            values[f"test_scored/{split}"] = scored
        run_id = self._children[number].run_id
        with place_errors(self.tracking_uri):
            known = self._client.get_run(run_id).data.metrics
            new = {name: value for name, value in values.items() if name not in known}
            self._client.log_batch(run_id, metrics=_metrics(new, 0))
            self._upload(run_id, predictions, "predictions")

    def finish(
        self, *, front: Collection[int], files: Mapping[str, bytes], failed: bool = False
    ) -> None:
        """Ends the parent run.

        Args:
            front: numbers of the trials on the Pareto front; every trial is tagged with whether
                it is one of them.
            files: uploaded to the parent run, by name.
            failed: the search did not do its work.
        """
        with place_errors(self.tracking_uri):
            for number, child in self._children.items():
                on_front = str(number in front).lower()
                self._client.set_tag(child.run_id, ON_FRONT, on_front)
            self._upload(self.run_id, files, None)
            self._client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")

    def _start(self, number: int, variant: str) -> _Child:
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, TRIAL: str(number), VARIANT: variant}
        run = self._client.create_run(
            self._experiment, run_name=f"{number:04d} {variant}", tags=tags
        )
        self._children[number] = _Child(run, set())
        return self._children[number]

    def _find_children(self) -> None:
        query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}'"
        token = None
        while True:
            page = self._client.search_runs([self._experiment], query, page_token=token)
            self._children |= {int(run.data.tags[TRIAL]): _Child(run, None) for run in page}
            token = page.token
            if not token:
                return

    def _upload(self, run_id: str, files: Mapping[str, bytes], folder: str | None) -> None:
        with tempfile.TemporaryDirectory() as place:
            for name, data in files.items():
                (Path(place) / name).write_bytes(data)
            self._client.log_artifacts(run_id, place, folder)


def _newest_parent(client: MlflowClient, experiment: str, search: str, storage: str) -> Run | None:
    query = f"tags.`{SEARCH}` = '{search}'"
    found = client.search_runs([experiment], query, order_by=["start_time DESC"])
    return next((run for run in found if run.data.tags.get(STORAGE) == storage), None)


def _values(report: Report) -> dict[str, float]:
    values = {
        "train_loss": report.train_loss,
        _LOSS: report.val_loss,
        "lr": report.lr,
        "tokens_per_second": report.tokens_per_second,
    }
    if report.scored:
        values["accuracy"] = report.accuracy
    if report.router_entropy is not None:
        values["router_entropy"] = report.router_entropy
    if report.router_load:
        values["router_load_max"] = max(report.router_load)
        values["router_load_min"] = min(report.router_load)
        values |= {f"router_load/{expert}": load for expert, load in enumerate(report.router_load)}
    return values


def _metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, step)
        for name, value in values.items()
        if math.isfinite(value)
    ]


def _params(values: Mapping[str, Any]) -> list[Param]:
    return [Param(name, str(value)[:_LONGEST]) for name, value in values.items()]
