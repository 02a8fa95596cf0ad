"""System metrics: on the run of a search that asks for them, from a monitor of its own."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from perft.searching.prepare import SearchRequest
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, tracker_of
from perft.tracking.mlflow import monitor
from pretend import SETTINGS

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

PATIENCE = 60  # seconds, on a busy machine


def test_they_are_on_the_run_of_a_search_that_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    metrics = {}
    for name, wanted in (("without", False), ("with", True)):
        recorder = Recorder.start(
            Tracking(
                tracker=tracker_of("mlflow"), place=uri, folder=Storage(str(tmp_path / name)),
                name=name, params=SETTINGS | {"system_metrics": wanted}, tell=print,
                later=lambda: "perft sync",
            )
        )  # fmt: skip
        experiment = client.get_experiment_by_name("perft").experiment_id
        (run,) = client.search_runs([experiment], f"tags.`perft.search` = '{name}'")
        end = time.monotonic() + (PATIENCE if wanted else 0)
        while (
            time.monotonic() < end and "system/cpu_utilization_percentage" not in run.data.metrics
        ):
            time.sleep(0.1)
            run = client.get_run(run.info.run_id)
        metrics[name] = run.data.metrics
        recorder.finish("FINISHED")
        assert recorder.close()
    assert "system/cpu_utilization_percentage" in metrics["with"]
    assert metrics["without"] == {}
    assert len(monitor._started) == 1
    monitor._started.popitem()[1].finish()


def test_they_are_refused_for_a_tracker_that_has_none():
    with pytest.raises(ValueError, match="is for the tracker mlflow, found --tracker folder"):
        SearchRequest(space="arithmetic", tracker="folder", system_metrics=True)
