"""The MLflow run of a search, kept up to date with its record and those of its trials."""

import contextlib
from collections.abc import Mapping

from mlflow.entities import Metric, Run, RunTag

from perft.search_folder import PLOT_PNG, SEARCH_FILE, predictions_folder
from perft.tracking.mlflow.data import dataset_inputs
from perft.tracking.mlflow.monitor import monitor
from perft.tracking.mlflow.note import NOTE_PNG, note_of
from perft.tracking.mlflow.picture import narrowed
from perft.tracking.mlflow.store import Store
from perft.tracking.mlflow.summary import ENDED, conclusion, ended, picked_trials, summary
from perft.tracking.mlflow.tags import BEST, KNEE, NOTE, search_tags
from perft.tracking.mlflow.values import BASE_LOSS, base_values, metrics, params
from perft.tracking.records import SearchRecord, Status, TrialRecord
from perft.trial import TrialResult

_MOST_METRICS = 500  # of a call; MLflow refuses more than 1000


class ParentRun:
    """The run of a search, and what it already has.

    Args:
        store: the place of the run.
        run: the run.
    """

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self.run_id: str = run.info.run_id
        self._status: Status = run.info.status
        self._params = set(run.data.params)
        self._tags: dict[str, str] = dict(run.data.tags)
        self._has_base = BASE_LOSS in run.data.metrics
        self._metrics: dict[str, float] = dict(run.data.metrics)
        inputs = run.inputs.dataset_inputs if run.inputs else []
        self._datasets = {each.dataset.digest for each in inputs}
        self._sent: SearchRecord | None = None

    @classmethod
    def make(cls, store: Store, search: SearchRecord) -> "ParentRun":
        """Creates the run of a search."""
        run = store.client.create_run(
            store.experiment,
            start_time=search.started,
            run_name=search.name,
            tags=search_tags(search),
        )
        return cls(store, run)

    def begin(self, search: SearchRecord, *, is_new: bool) -> None:
        """Sets the run RUNNING if its search is, and proves that artifacts can be stored.

        A search that cannot store any does not start.
        """
        if self._status != "RUNNING" and search.status == "RUNNING":
            self._set_status("RUNNING", None)
        if search.status == "RUNNING" and search.params.get("system_metrics"):
            monitor(self._store.client.tracking_uri, self.run_id)
        try:
            self._send_settings(search)
        except Exception:
            if is_new:
                with contextlib.suppress(Exception):
                    self._store.client.set_terminated(self.run_id, "FAILED")
            raise

    def send(
        self, search: SearchRecord, trials: Mapping[int, TrialRecord], run_ids: Mapping[int, str]
    ) -> None:
        """Brings the run up to date.

        Args:
            search: the record of the search.
            trials: those of its trials, by number.
            run_ids: ids of the trials' runs, by number.
        """
        if search != self._sent:
            self._send_record(search)
            self._sent = search
        results = ended(trials)
        self._send_summaries(search, results)
        self._send_tags(search, [result for _, result in results], run_ids)
        if self._status != search.status:
            self._set_status(search.status, search.ended)

    def _send_record(self, search: SearchRecord) -> None:
        client = self._store.client
        new = {name: v for name, v in search.params.items() if name not in self._params}
        client.log_batch(self.run_id, params=params(new))
        self._params |= set(new)
        self._send_settings(search)
        datasets = [each for each in search.datasets if each.digest not in self._datasets]
        if datasets:
            client.log_inputs(self.run_id, dataset_inputs(datasets, search.params))
            self._datasets |= {each.digest for each in datasets}
        folder = self._store.folder
        files = {name: folder.read(name) for name in search.files if folder.exists(name)}
        if PLOT_PNG in files:
            files[NOTE_PNG] = narrowed(files[PLOT_PNG])
        self._store.upload(self.run_id, files, None)
        self._send_base(search)

    def _send_settings(self, search: SearchRecord) -> None:
        self._store.client.log_dict(self.run_id, dict(search.params), SEARCH_FILE)

    def _send_base(self, search: SearchRecord) -> None:
        if search.base is None or self._has_base:
            return
        if search.base.has_predictions:
            self._store.upload_folder(self.run_id, predictions_folder(None), "predictions")
        values = metrics(base_values(search.base), search.ended or 0, 0)
        self._store.client.log_batch(self.run_id, metrics=values)
        self._has_base = True

    def _send_summaries(self, search: SearchRecord, results: list[tuple[int, TrialResult]]) -> None:
        """A summary for every trial that has ended, and the conclusion with the last of them."""
        ordered = [result for _, result in results]
        found: list[Metric] = []
        for step in range(int(self._metrics.get(ENDED, 0)) + 1, len(results) + 1):
            found += metrics(summary(ordered[:step]), results[step - 1][0], step)
        known = self._metrics | {metric.key: metric.value for metric in found}
        if search.status != "RUNNING" and search.ended is not None and results:
            # A trial that had failed may have been trained again: then the summary is another one.
            values = summary(ordered) | conclusion(ordered, search)
            new = {name: value for name, value in values.items() if known.get(name) != value}
            found += metrics(new, search.ended, len(results))
        for start in range(0, len(found), _MOST_METRICS):
            part = found[start : start + _MOST_METRICS]
            self._store.client.log_batch(self.run_id, metrics=part)
        self._metrics |= {metric.key: metric.value for metric in found}

    def _send_tags(
        self, search: SearchRecord, results: list[TrialResult], run_ids: Mapping[int, str]
    ) -> None:
        note = note_of(search, results, self.run_id, self._store.experiment, run_ids)
        picked = picked_trials(results)
        tags = {NOTE: note}
        tags |= {
            tag: str(picked[name].number)
            for tag, name in ((BEST, "best"), (KNEE, "knee"))
            if name in picked
        }
        new = {tag: value for tag, value in tags.items() if self._tags.get(tag) != value}
        if new:
            sent = [RunTag(*tag) for tag in new.items()]
            self._store.client.log_batch(self.run_id, tags=sent)
            self._tags |= new

    def _set_status(self, status: Status, at: int | None) -> None:
        self._store.set_status(self.run_id, status, at)
        self._status = status
