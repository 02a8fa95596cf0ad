"""The MLflow run of one trial, kept up to date with its record."""

from mlflow.entities import Run, RunTag

from perft.selection import describe, describe_origin
from perft.tracking.mlflow.store import Store
from perft.tracking.mlflow.tags import NOTE, ON_FRONT, OUTCOME, trial_tags
from perft.tracking.mlflow.values import (
    CONFIRMED,
    LONGEST,
    LOSS,
    SCORED,
    SIZE,
    confirmed_values,
    metrics,
    params,
    report_values,
    size_values,
    test_values,
)
from perft.tracking.records import SearchRecord, Status, TrialRecord

BASE_ACTIVATED = "perft.base_activated_parameters"


def run_name(trial: TrialRecord) -> str:
    """Such as "0006 perft-r 4/8 r16 lr 0.0078"."""
    words = f"{trial.number:04d}", describe(trial.config), describe_origin(trial.origin)
    return " ".join(filter(None, words))


def drawn(trial: TrialRecord) -> dict[str, object]:
    """The parameters that a trial was drawn with; every setting if it was not drawn."""
    return dict(trial.params or trial.config.to_flat())


class ChildRun:
    """The run of a trial, and what it already has.

    Args:
        store: the place of the run.
        run: the run.
        steps: steps of the reports that it has; None to look them up.
    """

    def __init__(self, store: Store, run: Run, steps: set[int] | None) -> None:
        self._store = store
        self.run_id: str = run.info.run_id
        self.status: Status = run.info.status
        self._params = set(run.data.params)
        self._is_sized = SIZE in run.data.metrics
        self._scored = {
            name.removeprefix(SCORED) for name in run.data.metrics if name.startswith(SCORED)
        }
        self._outcome: str | None = run.data.tags.get(OUTCOME)
        self._on_front: str | None = run.data.tags.get(ON_FRONT)
        self._confirmed: float | None = run.data.metrics.get(CONFIRMED)
        self._steps = steps

    @classmethod
    def make(
        cls, store: Store, trial: TrialRecord, search: SearchRecord, parent: str
    ) -> "ChildRun":
        """Creates the run of a trial below the run `parent`."""
        run = store.client.create_run(
            store.experiment,
            start_time=trial.started,
            run_name=run_name(trial),
            tags=trial_tags(trial, search, parent),
        )
        return cls(store, run, set())

    def send(self, trial: TrialRecord, search: SearchRecord) -> None:
        """Brings the run up to date with the records of its trial and of the search."""
        if trial.outcome is None or self._outcome != trial.outcome:
            self._send_numbers(trial)
        if trial.number in search.scores:
            self._send_scores(trial.number, search)
        self._send_confirmed(trial.number, search)
        if search.front is not None:
            on_front = str(trial.number in search.front).lower()
            if self._on_front != on_front:
                self._store.client.set_tag(self.run_id, ON_FRONT, on_front)
                self._on_front = on_front
        self._send_end(trial, search)

    def end(self, status: Status, at: int | None) -> None:
        """Sets the run's status, if it has another one."""
        if self.status != status:
            self._store.set_status(self.run_id, status, at)
            self.status = status

    def _send_numbers(self, trial: TrialRecord) -> None:
        client = self._store.client
        new = {n: v for n, v in drawn(trial).items() if n not in self._params}
        client.log_batch(self.run_id, params=params(new))
        self._params |= set(new)
        if trial.size and not self._is_sized:
            at = trial.reports[0][0] if trial.reports else trial.started
            base = RunTag(BASE_ACTIVATED, str(trial.size.base_activated))
            sizes = metrics(size_values(trial.size), at, 0)
            client.log_batch(self.run_id, metrics=sizes, tags=[base])
            self._is_sized = True
        if self._steps is None:
            history = client.get_metric_history(self.run_id, LOSS)
            self._steps = {metric.step for metric in history}
        for at, report in trial.reports:
            if report.step not in self._steps:
                values = metrics(report_values(report), at, report.step)
                client.log_batch(self.run_id, metrics=values)
                self._steps.add(report.step)

    def _send_scores(self, number: int, search: SearchRecord) -> None:
        new = {s: v for s, v in search.scores[number].items() if s not in self._scored}
        if not new:
            return
        if folder := search.predictions.get(number):
            self._store.upload_folder(self.run_id, folder, "predictions")
        values: dict[str, float] = {}
        for split, count in new.items():
            values |= test_values(split, count)
        sent = metrics(values, search.ended or 0, 0)
        self._store.client.log_batch(self.run_id, metrics=sent)
        self._scored |= set(new)

    def _send_confirmed(self, number: int, search: SearchRecord) -> None:
        found = search.confirmed.get(number)
        values = confirmed_values(found) if found else {}
        if values and values[CONFIRMED] != self._confirmed:
            sent = metrics(values, search.ended or 0, 0)
            self._store.client.log_batch(self.run_id, metrics=sent)
            self._confirmed = values[CONFIRMED]

    def _send_end(self, trial: TrialRecord, search: SearchRecord) -> None:
        outcome = None if trial.outcome == self._outcome else trial.outcome
        if outcome and trial.adapter:
            self._store.upload_folder(self.run_id, trial.adapter, "adapter")
        status: Status = search.status
        if trial.outcome is not None:
            status = "FAILED" if trial.outcome == "failed" else "FINISHED"
        self.end(status, trial.ended or search.ended)
        if outcome:
            # Last, because the outcome marks the rest as recorded.
            tags = {OUTCOME: outcome, NOTE: trial.error[-LONGEST:]}
            sent = [RunTag(*tag) for tag in tags.items()]
            self._store.client.log_batch(self.run_id, tags=sent)
            self._outcome = outcome
