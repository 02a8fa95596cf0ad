"""The runs of one search in MLflow, kept up to date with its records.

Invariant: every call may be repeated, also by another process, also after MLflow did it and its
answer was lost. A run is looked up before it is created, and a metric has its record's time.
"""

import contextlib
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from mlflow.entities import Param, Run, RunTag

from perft.search_folder import SEARCH_FILE, predictions_folder
from perft.storage import Storage, read_folder
from perft.tracking.mlflow.client import connect
from perft.tracking.mlflow.place import place_errors
from perft.tracking.mlflow.values import (
    BASE_LOSS,
    CONFIRMED,
    LONGEST,
    LOSS,
    SCORED,
    SIZE,
    base_values,
    confirmed_values,
    metrics,
    params,
    report_values,
    size_values,
    test_values,
)
from perft.tracking.records import SearchRecord, Status, TrialRecord

PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
"""MLflow's own tags: a run's parent, and the description on its page."""
SEARCH, STORAGE, KEY, TRIAL = "perft.search", "perft.storage", "perft.key", "perft.trial"
VARIANT, OUTCOME, ON_FRONT = "perft.variant", "perft.outcome", "perft.front"
ORIGIN, ORIGIN_TRIAL = "perft.origin", "perft.origin_trial"


class _Child:
    """What a trial's run already has; `steps` is None until they are looked up."""

    def __init__(self, run: Run, steps: set[int] | None) -> None:
        self.run_id: str = run.info.run_id
        self.status: Status = run.info.status
        self.params = set(run.data.params)
        self.sized = SIZE in run.data.metrics
        self.scored = {
            name.removeprefix(SCORED) for name in run.data.metrics if name.startswith(SCORED)
        }
        self.outcome: str | None = run.data.tags.get(OUTCOME)
        self.on_front: str | None = run.data.tags.get(ON_FRONT)
        self.confirmed: float | None = run.data.metrics.get(CONFIRMED)
        self.steps = steps


class MLflowRuns:
    """One parent run, and a child run per trial.

    Args:
        tracking_uri: an MLflow server, a SQLite file (`sqlite:////absolute/path`), which is created
            if needed and has its artifacts beside it, or another store.
        folder: the search's folder, with the files to upload.
        search: the record of the search: its run is looked up, or created, and set RUNNING.

    Raises:
        StorageError: from every method, if the store refuses a call.
    """

    def __init__(self, tracking_uri: str, folder: Storage, search: SearchRecord) -> None:
        self._uri = tracking_uri
        self._folder = folder
        self._client, self._experiment = connect(tracking_uri)
        with place_errors(self._uri):
            found = self._search_runs(f"tags.`{KEY}` = '{search.key}'")
            run = found[0] if found else self._make_parent(search)
            self.run_id: str = run.info.run_id
            self._status: Status = run.info.status
            self._params = set(run.data.params)
            self._has_base = BASE_LOSS in run.data.metrics
            query = f"tags.`{PARENT}` = '{self.run_id}'"
            self._children = {
                int(child.data.tags[TRIAL]): _Child(child, None)
                for child in (self._search_runs(query) if found else [])
            }
            if self._status != "RUNNING" and search.status == "RUNNING":
                self._client.update_run(self.run_id, status="RUNNING")
                self._status = "RUNNING"
            self._prove_artifacts(search, is_new=not found)

    @property
    def ids(self) -> dict[int, str]:
        """Ids of the trials' runs, by number."""
        return {number: child.run_id for number, child in self._children.items()}

    def send_trial(self, trial: TrialRecord, search: SearchRecord) -> None:
        """Brings a trial's run up to date with its record and its search's record."""
        with place_errors(self._uri):
            child = self._children.get(trial.number) or self._make_child(trial)
            if trial.outcome is None or child.outcome != trial.outcome:
                self._send_numbers(child, trial)
            if trial.number in search.scores:
                self._send_scores(child, trial.number, search)
            self._send_confirmed(child, trial.number, search)
            if search.front is not None:
                on_front = str(trial.number in search.front).lower()
                if child.on_front != on_front:
                    self._client.set_tag(child.run_id, ON_FRONT, on_front)
                    child.on_front = on_front
            self._send_end(child, trial, search)

    def send_search(self, search: SearchRecord, trials: Collection[int]) -> None:
        """Brings the parent run up to date with the search's record.

        Args:
            search: the record.
            trials: numbers of the trials that have records; no other run stays RUNNING once the
                search has ended.
        """
        with place_errors(self._uri):
            new = {name: v for name, v in search.params.items() if name not in self._params}
            self._client.log_batch(self.run_id, params=params(new))
            self._params |= set(new)
            self._client.log_dict(self.run_id, dict(search.params), SEARCH_FILE)
            files = {n: self._folder.read(n) for n in search.files if self._folder.exists(n)}
            self._upload(self.run_id, files, None)
            self._send_base(search)
            for number, child in self._children.items():
                if number not in trials and child.status == "RUNNING" != search.status:
                    self._end(child.run_id, search.status, search.ended)
                    child.status = search.status
            if self._status != search.status:
                self._end(self.run_id, search.status, search.ended)
                self._status = search.status

    def _send_base(self, search: SearchRecord) -> None:
        if search.base is None or self._has_base:
            return
        if search.base.has_predictions:
            self._upload(self.run_id, self._files(predictions_folder(None)), "predictions")
        values = metrics(base_values(search.base), search.ended or 0, 0)
        self._client.log_batch(self.run_id, metrics=values)
        self._has_base = True

    def _prove_artifacts(self, search: SearchRecord, *, is_new: bool) -> None:
        """Stores an artifact before any work is done; a search that cannot does not start."""
        try:
            self._client.log_dict(self.run_id, dict(search.params), SEARCH_FILE)
        except Exception:
            if is_new:
                with contextlib.suppress(Exception):
                    self._client.set_terminated(self.run_id, "FAILED")
            raise

    def _send_numbers(self, child: _Child, trial: TrialRecord) -> None:
        settings = {n: v for n, v in trial.config.to_flat().items() if n not in child.params}
        self._client.log_batch(child.run_id, params=params(settings))
        child.params |= set(settings)
        if trial.size and not child.sized:
            at = trial.reports[0][0] if trial.reports else trial.started
            base = Param("base_activated_parameters", str(trial.size.base_activated))
            sizes = metrics(size_values(trial.size), at, 0)
            self._client.log_batch(child.run_id, metrics=sizes, params=[base])
            child.sized = True
        if child.steps is None:
            history = self._client.get_metric_history(child.run_id, LOSS)
            child.steps = {metric.step for metric in history}
        for at, report in trial.reports:
            if report.step not in child.steps:
                values = metrics(report_values(report), at, report.step)
                self._client.log_batch(child.run_id, metrics=values)
                child.steps.add(report.step)

    def _send_scores(self, child: _Child, number: int, search: SearchRecord) -> None:
        new = {s: v for s, v in search.scores[number].items() if s not in child.scored}
        if not new:
            return
        self._upload(child.run_id, self._files(search.predictions.get(number)), "predictions")
        values: dict[str, float] = {}
        for split, count in new.items():
            values |= test_values(split, count)
        self._client.log_batch(child.run_id, metrics=metrics(values, search.ended or 0, 0))
        child.scored |= set(new)

    def _send_confirmed(self, child: _Child, number: int, search: SearchRecord) -> None:
        found = search.confirmed.get(number)
        values = confirmed_values(found) if found else {}
        if values and values[CONFIRMED] != child.confirmed:
            sent = metrics(values, search.ended or 0, 0)
            self._client.log_batch(child.run_id, metrics=sent)
            child.confirmed = values[CONFIRMED]

    def _send_end(self, child: _Child, trial: TrialRecord, search: SearchRecord) -> None:
        outcome = None if trial.outcome == child.outcome else trial.outcome
        if outcome and trial.adapter:
            self._upload(child.run_id, self._files(trial.adapter), "adapter")
        status: Status = search.status
        if trial.outcome is not None:
            status = "FAILED" if trial.outcome == "failed" else "FINISHED"
        if child.status != status:
            self._end(child.run_id, status, trial.ended or search.ended)
            child.status = status
        if outcome:
            # Last, because the outcome marks the rest as recorded.
            tags = {OUTCOME: outcome, NOTE: trial.error[-LONGEST:]}
            self._client.log_batch(child.run_id, tags=[RunTag(*tag) for tag in tags.items()])
            child.outcome = outcome

    def _end(self, run_id: str, status: Status, at: int | None) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end_time=at)

    def _make_parent(self, search: SearchRecord) -> Run:
        tags = {SEARCH: search.name, STORAGE: search.place, KEY: search.key}
        for name in ("space", "base_model"):
            tags[f"perft.{name.removesuffix('_model')}"] = search.params.get(name) or "built-in"
        return self._client.create_run(
            self._experiment, start_time=search.started, run_name=search.name, tags=tags
        )

    def _make_child(self, trial: TrialRecord) -> _Child:
        variant = trial.config.adapter.variant
        tags = {PARENT: self.run_id, TRIAL: str(trial.number), VARIANT: variant}
        if trial.origin is not None:
            tags[ORIGIN] = trial.origin.kind
            if trial.origin.trial is not None:
                tags[ORIGIN_TRIAL] = str(trial.origin.trial)
        run = self._client.create_run(
            self._experiment,
            start_time=trial.started,
            run_name=f"{trial.number:04d} {variant}",
            tags=tags,
        )
        self._children[trial.number] = _Child(run, set())
        return self._children[trial.number]

    def _search_runs(self, query: str) -> list[Run]:
        found: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], query, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _files(self, folder: str | None) -> dict[str, bytes]:
        return read_folder(self._folder, folder) if folder else {}

    def _upload(self, run_id: str, files: Mapping[str, bytes], folder: str | None) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory() as place:
            for name, data in files.items():
                (Path(place) / name).write_bytes(data)
            self._client.log_artifacts(run_id, place, folder)
