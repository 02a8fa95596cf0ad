"""What MLflow holds after a search: read back through MLflow's own client."""

import dataclasses
import io
import math
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from perft.selection.files import result_files
from perft.tracking import Tracker, environment
from perft.trial import TrialResult
from pretend import SETTINGS, adapter_files, report, search_of_six, trial

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

TAGS = {"perft.space": "arithmetic"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: each has a search of its own in it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def search(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def open_tracker(uri: str, search: str, *, resume: bool = False, storage: str = "/s") -> Tracker:
    tracker = Tracker.open(uri, search, storage=storage, resume=resume, params=SETTINGS, tags=TAGS)
    tracker.log_params(SETTINGS)
    return tracker


def children_of(client: MlflowClient, tracker: Tracker) -> dict[int, Run]:
    experiment = client.get_experiment_by_name("perft").experiment_id
    query = f"tags.`mlflow.parentRunId` = '{tracker.run_id}'"
    return {
        int(run.data.tags["perft.trial"]): run for run in client.search_runs([experiment], query)
    }


def record(tracker: Tracker, result: TrialResult) -> None:
    """What a driver calls in the life of a trial."""
    tracker.start_trial(result.number, result.config)
    assert result.size is not None
    tracker.log_size(result.number, result.size)
    for one in result.reports:
        tracker.report(result.number, one)
    adapter = adapter_files(result.number) if result.outcome == "complete" else None
    tracker.finish_trial(result, adapter)


@pytest.fixture(scope="module")
def finished(uri: str) -> Tracker:
    tracker = open_tracker(uri, "finished")
    results = search_of_six()
    for result in results:
        record(tracker, result)
    tracker.log_scores(3, {"addsub": (12, 395)}, {"rank-0.parquet": b"rows"})
    files = result_files(results, "finished") | {"environment.txt": environment().encode()}
    tracker.finish(front=[0, 1, 3], files=files)
    return tracker


def test_parent_says_what_was_searched(client: MlflowClient, finished: Tracker, tmp_path: Path):
    run = client.get_run(finished.run_id)
    assert run.info.run_name == "finished"
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in SETTINGS.items()}
    assert run.data.tags.items() >= {"perft.search": "finished", **TAGS}.items()
    names = {file.path for file in client.list_artifacts(finished.run_id)}
    assert names == {
        "search.json", "trials.parquet", "trials.csv", "pareto.html", "pareto.png",
        "environment.txt",
    }  # fmt: skip
    path = client.download_artifacts(finished.run_id, "trials.parquet", str(tmp_path))
    assert len(pd.read_parquet(io.BytesIO(Path(path).read_bytes()))) == 6
    path = client.download_artifacts(finished.run_id, "environment.txt", str(tmp_path))
    assert "\nmlflow==" in Path(path).read_text()


def test_every_trial_is_a_child_with_its_outcome(client: MlflowClient, finished: Tracker):
    children = children_of(client, finished)
    assert sorted(children) == [0, 1, 2, 3, 4, 5]
    for result in search_of_six():
        run = children[result.number]
        settings = {name: str(value) for name, value in result.config.to_flat().items()}
        assert run.data.params.items() >= settings.items()
        assert run.data.tags["perft.variant"] == settings["variant"]
        assert run.data.tags["perft.outcome"] == result.outcome
        assert run.data.tags["perft.front"] == str(result.number in (0, 1, 3)).lower()
        assert run.info.status == ("FAILED" if result.outcome == "failed" else "FINISHED")
    assert children[5].data.tags["mlflow.note.content"] == "the loss is not finite at step 51"
    assert children[1].info.run_name == "0001 perft-r"


def test_measures_are_metrics_over_steps(client: MlflowClient, finished: Tracker):
    run = children_of(client, finished)[1]
    result = search_of_six()[1]
    for name in ("train_loss", "val_loss", "accuracy", "lr", "tokens_per_second"):
        history = client.get_metric_history(run.info.run_id, name)
        found = [(metric.step, metric.value) for metric in history]
        assert found == [(one.step, getattr(one, name)) for one in result.reports]
    assert run.data.metrics["router_entropy"] == 0.7
    loads = {name for name in run.data.metrics if name.startswith("router_load")}
    assert loads == {"router_load_max", "router_load_min", *(f"router_load/{j}" for j in range(4))}
    assert "router_entropy" not in children_of(client, finished)[0].data.metrics


def test_sizes_and_test_scores_are_metrics(client: MlflowClient, finished: Tracker):
    run = children_of(client, finished)[3]
    assert run.data.params["base_activated_parameters"] == "2000000"
    expected = {
        "trainable_parameters": 80_000, "activated_parameters": 40_000,
        "trainable_percent": 4.0, "activated_percent": 2.0,
        "test_accuracy/addsub": 12 / 395, "test_correct/addsub": 12, "test_scored/addsub": 395,
    }  # fmt: skip
    assert run.data.metrics.items() >= expected.items()


def test_predictions_are_artifacts_of_their_trial(client: MlflowClient, finished: Tracker):
    run = children_of(client, finished)[3]
    (file,) = client.list_artifacts(run.info.run_id, "predictions")
    assert (file.path, file.file_size) == ("predictions/rank-0.parquet", 4)


def test_full_length_trials_have_their_adapter(
    client: MlflowClient, finished: Tracker, tmp_path: Path
):
    children = children_of(client, finished)
    folder = Path(client.download_artifacts(children[3].info.run_id, "adapter", str(tmp_path)))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == adapter_files(3)
    for number in (4, 5):
        assert client.list_artifacts(children[number].info.run_id) == []


def test_artifacts_lie_beside_the_store(client: MlflowClient, finished: Tracker, uri: str):
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert client.get_run(finished.run_id).info.artifact_uri.startswith(folder.as_uri())
    assert any(folder.rglob("adapter_model.safetensors"))


def test_what_is_not_finite_is_left_out(client: MlflowClient, uri: str, search: str):
    tracker = open_tracker(uri, search)
    run_id = tracker.start_trial(0, trial(0).config)
    broken = dataclasses.replace(report(50, 3, val_loss=math.nan), train_loss=math.inf)
    for _ in range(2):
        tracker.report(0, broken)
    metrics = client.get_run(run_id).data.metrics
    assert set(metrics) == {"accuracy", "lr", "tokens_per_second"}
    assert len(client.get_metric_history(run_id, "accuracy")) == 1


def histories(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


@pytest.mark.parametrize("killed_after", range(5))
def test_a_resumed_search_is_recorded_once(
    client: MlflowClient, uri: str, search: str, killed_after: int
):
    """Killed at any call, recorded again from the start: as if it had never been killed."""
    result = trial(1)
    assert result.size is not None
    calls = [
        lambda tracker: tracker.start_trial(1, result.config),
        lambda tracker: tracker.log_size(1, result.size),
        lambda tracker: tracker.report(1, result.reports[0]),
        lambda tracker: tracker.report(1, result.reports[1]),
        lambda tracker: tracker.finish_trial(result, adapter_files(1)),
    ]
    first = open_tracker(uri, search)
    for call in calls[: killed_after + 1]:
        call(first)
    second = open_tracker(uri, search, resume=True)
    assert second.run_id == first.run_id
    assert client.get_run(second.run_id).info.status == "RUNNING"
    record(second, result)
    second.finish(front=[1], files={})
    second.finish(front=[1], files={})

    undisturbed = open_tracker(uri, f"{search} undisturbed")
    record(undisturbed, result)
    (run,) = children_of(client, second).values()
    (expected,) = children_of(client, undisturbed).values()
    assert histories(client, run) == histories(client, expected)
    assert run.data.params == expected.data.params
    assert run.info.status == "FINISHED"
    assert client.get_run(second.run_id).info.status == "FINISHED"


def test_finishing_a_trial_completes_what_is_missing(client: MlflowClient, uri: str, search: str):
    """Results on disk are enough to catch up with."""
    tracker = open_tracker(uri, search)
    run_id = tracker.finish_trial(trial(1), adapter_files(1))
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["activated_parameters"] == 1000
    assert [step for step, _ in histories(client, run)["accuracy"]] == [50, 200]


def test_a_failed_trial_that_is_run_again_takes_its_new_outcome(
    client: MlflowClient, uri: str, search: str
):
    tracker = open_tracker(uri, search)
    failed = tracker.finish_trial(trial(0, outcome="failed"))
    again = open_tracker(uri, search, resume=True).finish_trial(trial(0), adapter_files(0))
    assert again == failed
    run = client.get_run(again)
    assert (run.info.status, run.data.tags["perft.outcome"]) == ("FINISHED", "complete")
    assert run.data.tags["mlflow.note.content"] == ""


def test_searches_of_one_name_are_told_apart(uri: str, search: str):
    first = open_tracker(uri, search)
    assert open_tracker(uri, search).run_id != first.run_id, "a new search takes an old one's run"
    elsewhere = open_tracker(uri, search, resume=True, storage="/elsewhere")
    assert elsewhere.run_id != first.run_id


def test_a_failed_search_says_so(client: MlflowClient, uri: str, search: str):
    tracker = open_tracker(uri, search)
    tracker.finish(front=[], files={}, failed=True)
    assert client.get_run(tracker.run_id).info.status == "FAILED"
