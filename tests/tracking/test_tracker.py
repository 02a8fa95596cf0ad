"""What MLflow holds after a search: read back through MLflow's own client."""

import dataclasses
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from perft.selection import confirmed
from perft.selection.files import result_files
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, environment, is_sent, sender, tracker_of
from perft.tracking.mlflow import runs
from perft.tracking.mlflow.client import connect
from perft.trial import TrialResult
from pretend import (
    BASE,
    SETTINGS,
    adapter_files,
    report,
    search_of_six,
    search_of_six_confirmed,
    trial,
)

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")


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


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "folder")).prepare()


DRAWN = {"lr": 0.005, "routing": "2/4"}
"""What every trial here was drawn with."""

Begin = Callable[..., Recorder]


def begin(how: Begin, uri: str, folder: Storage, name: str) -> Recorder:
    tracker = how(
        Tracking(
            tracker=tracker_of("mlflow"), place=uri, folder=folder, name=name, params=SETTINGS,
            tell=print, later=lambda: "perft sync",
        )
    )  # fmt: skip
    if how != Recorder.catch_up:
        tracker.log_params(SETTINGS)
    return tracker


def runs_of(client: MlflowClient, query: str) -> list[Run]:
    experiment = client.get_experiment_by_name("perft").experiment_id
    return list(client.search_runs([experiment], query))


def parent_of(client: MlflowClient, name: str) -> Run:
    (parent,) = runs_of(client, f"tags.`perft.search` = '{name}'")
    return parent


def children_of(client: MlflowClient, name: str) -> dict[int, Run]:
    parent = parent_of(client, name).info.run_id
    runs = runs_of(client, f"tags.`mlflow.parentRunId` = '{parent}'")
    children = {int(run.data.tags["perft.trial"]): run for run in runs}
    assert len(children) == len(runs), "a trial has two runs"
    return children


def record(tracker: Recorder, folder: Storage, result: TrialResult) -> None:
    """What a driver calls in the life of a trial."""
    tracker.start_trial(result.number, result.config, DRAWN, origin=result.origin)
    assert result.size is not None
    for one in result.reports:
        tracker.report(result.number, result.size, one)
    adapter = ""
    if result.outcome == "complete":
        adapter = f"adapters/{result.number:04d}"
        for name, data in adapter_files(result.number).items():
            folder.write(f"{adapter}/{name}", data)
    tracker.end_trial(result, adapter)


@pytest.fixture(scope="module")
def finished(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    folder = Storage(str(tmp_path_factory.mktemp("finished")))
    tracker = begin(Recorder.start, uri, folder, "finished")
    results = search_of_six()
    for result in results:
        record(tracker, folder, result)
    folder.write("predictions/0003/rank-0.parquet", b"rows")
    files = result_files(results, "finished") | {"environment.txt": environment().encode()}
    for name, data in files.items():
        folder.write(name, data)
    tracker.finish(
        "FINISHED",
        front=[0, 1, 3],
        files=list(files),
        scores={3: {"addsub": (12, 395)}},
        predictions={3: "predictions/0003"},
    )
    assert tracker.close()
    return folder


def test_parent_says_what_was_searched(client: MlflowClient, finished: Storage, tmp_path: Path):
    run = parent_of(client, "finished")
    assert run.info.run_name == "finished"
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in SETTINGS.items()}
    tags = {"perft.search": "finished", "perft.space": "arithmetic", "perft.base": "built-in"}
    assert run.data.tags.items() >= tags.items()
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {
        "search.json", "trials.parquet", "trials.csv", "pareto.html", "pareto.png",
        "pareto-small.png",         "environment.txt",
    }  # fmt: skip
    path = client.download_artifacts(run.info.run_id, "trials.parquet", str(tmp_path))
    assert len(pd.read_parquet(io.BytesIO(Path(path).read_bytes()))) == 6
    path = client.download_artifacts(run.info.run_id, "environment.txt", str(tmp_path))
    assert "\nmlflow==" in Path(path).read_text()


def test_every_trial_is_a_child_with_its_outcome(client: MlflowClient, finished: Storage):
    children = children_of(client, "finished")
    assert sorted(children) == [0, 1, 2, 3, 4, 5]
    for result in search_of_six():
        run = children[result.number]
        settings = result.config.to_flat()
        assert json.loads(run.data.tags["perft.config"]) == settings
        assert run.data.params == {name: str(value) for name, value in DRAWN.items()}
        assert run.data.tags["perft.variant"] == settings["variant"]
        assert run.data.tags["perft.outcome"] == result.outcome
        assert run.data.tags["perft.front"] == str(result.number in (0, 1, 3)).lower()
        assert run.info.status == ("FAILED" if result.outcome == "failed" else "FINISHED")
    assert children[5].data.tags["mlflow.note.content"] == "the loss is not finite at step 51"
    assert children[1].info.run_name == "0001 perft-r 2/4 r8 lr 0.005"


def test_measures_are_metrics_over_steps(client: MlflowClient, finished: Storage):
    run = children_of(client, "finished")[1]
    result = search_of_six()[1]
    for name in ("train_loss", "val_loss", "accuracy", "lr", "tokens_per_second"):
        history = client.get_metric_history(run.info.run_id, name)
        found = [(metric.step, metric.value) for metric in history]
        assert found == [(one.step, getattr(one, name)) for one in result.reports]
    assert run.data.metrics["router_entropy"] == 0.7
    loads = {name for name in run.data.metrics if name.startswith("router_load")}
    assert loads == {"router_load_max", "router_load_min"}
    last = sorted(run.data.metrics)[-4:]
    assert last == [f"z_router_load/{expert:02d}" for expert in range(4)]
    assert "router_entropy" not in children_of(client, "finished")[0].data.metrics


def test_sizes_and_test_scores_are_metrics(client: MlflowClient, finished: Storage):
    run = children_of(client, "finished")[3]
    assert run.data.tags["perft.base_activated_parameters"] == "2000000"
    expected = {
        "trainable_parameters": 80_000, "activated_parameters": 40_000,
        "trainable_percent": 4.0, "activated_percent": 2.0,
        "test_accuracy/addsub": 12 / 395, "test_correct/addsub": 12, "test_scored/addsub": 395,
    }  # fmt: skip
    assert run.data.metrics.items() >= expected.items()


def test_the_base_and_other_seeds_are_metrics(client: MlflowClient, uri: str, tmp_path: Path):
    """Of the search's run, and of the run of the trial that they repeat; sent twice, told once."""
    folder = Storage(str(tmp_path)).prepare()
    tracker = begin(Recorder.start, uri, folder, "honest")
    results = search_of_six_confirmed()
    for result in results:
        record(tracker, folder, result)
    folder.write("predictions/base/rank-0.parquet", b"rows")
    tracker.finish("FINISHED", front=[0, 1, 3], base=BASE, confirmed=confirmed(results))
    assert tracker.close()
    assert begin(Recorder.catch_up, uri, folder, "honest").close()
    parent, children = parent_of(client, "honest"), children_of(client, "honest")
    expected = {
        "base_val_loss": 2.5, "base_accuracy": 0.1, "base_test_accuracy/addsub": 5 / 395,
        "base_test_correct/addsub": 5, "base_test_scored/addsub": 395,
    }  # fmt: skip
    assert parent.data.metrics.items() >= expected.items()
    (file,) = client.list_artifacts(parent.info.run_id, "predictions")
    assert file.path == "predictions/rank-0.parquet"
    found = confirmed(results)[1]
    values = {
        "confirmed_mean": found.mean, "confirmed_spread": found.spread, "confirmed_trainings": 3,
        "confirmed_low": found.interval[0], "confirmed_high": found.interval[1],
    }  # fmt: skip
    assert children[1].data.metrics.items() >= values.items()
    history = client.get_metric_history(children[1].info.run_id, "confirmed_mean")
    assert len(history) == 1
    assert "confirmed_mean" not in children[2].data.metrics
    tags = children[9].data.tags
    assert (tags["perft.origin"], tags["perft.origin_trial"]) == ("confirm", "1")
    assert "perft.origin" not in children[0].data.tags


def test_predictions_are_artifacts_of_their_trial(client: MlflowClient, finished: Storage):
    run = children_of(client, "finished")[3]
    (file,) = client.list_artifacts(run.info.run_id, "predictions")
    assert (file.path, file.file_size) == ("predictions/rank-0.parquet", 4)


def test_full_length_trials_have_their_adapter(
    client: MlflowClient, finished: Storage, tmp_path: Path
):
    children = children_of(client, "finished")
    folder = Path(client.download_artifacts(children[3].info.run_id, "adapter", str(tmp_path)))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == adapter_files(3)
    for number in (4, 5):
        assert client.list_artifacts(children[number].info.run_id) == []


def test_artifacts_lie_beside_the_store(client: MlflowClient, finished: Storage, uri: str):
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert parent_of(client, "finished").info.artifact_uri.startswith(folder.as_uri())
    assert any(folder.rglob("adapter_model.safetensors"))


def test_what_is_not_finite_is_left_out(
    client: MlflowClient, uri: str, search: str, folder: Storage
):
    tracker = begin(Recorder.start, uri, folder, search)
    tracker.start_trial(0, trial(0).config)
    size = trial(0).size
    assert size is not None
    broken = dataclasses.replace(report(50, 3, val_loss=math.inf), train_loss=math.inf)
    for _ in range(2):
        tracker.report(0, size, broken)
    assert tracker.close()
    (run,) = children_of(client, search).values()
    assert set(run.data.metrics) >= {"accuracy", "lr", "tokens_per_second"}
    assert "val_loss" not in run.data.metrics
    assert len(client.get_metric_history(run.info.run_id, "accuracy")) == 1


def histories(client: MlflowClient, run: Run, *, times: bool = False) -> dict[str, list[Any]]:
    return {
        name: [
            (one.step, one.value, one.timestamp if times else 0)
            for one in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


@pytest.mark.parametrize("killed_after", range(5))
def test_a_resumed_search_is_recorded_once(
    client: MlflowClient, uri: str, search: str, folder: Storage, tmp_path: Path, killed_after: int
):
    """Killed at any call, recorded again from the start: as if it had never been killed."""
    result = trial(1)
    assert result.size is not None
    size, reports = result.size, result.reports
    calls = [
        lambda tracker: tracker.start_trial(1, result.config, DRAWN),
        lambda tracker: tracker.report(1, size, reports[0]),
        lambda tracker: tracker.report(1, size, reports[1]),
        lambda tracker: record(tracker, folder, result),
        lambda tracker: tracker.finish("FAILED", front=[]),
    ]
    first = begin(Recorder.start, uri, folder, search)
    for call in calls[: killed_after + 1]:
        call(first)
    assert first.close()
    before = histories(client, children_of(client, search)[1], times=True)
    second = begin(Recorder.resume, uri, folder, search)
    assert not is_sent(folder)
    assert second.wait()
    assert parent_of(client, search).info.status == "RUNNING"
    record(second, folder, result)
    for _ in range(2):
        second.finish("FINISHED", front=[1])
    assert second.close()
    assert is_sent(folder)

    elsewhere = Storage(str(tmp_path / "undisturbed")).prepare()
    undisturbed = begin(Recorder.start, uri, elsewhere, f"{search} undisturbed")
    record(undisturbed, elsewhere, result)
    undisturbed.finish("FINISHED", front=[1])
    assert undisturbed.close()
    (run,) = children_of(client, search).values()
    (expected,) = children_of(client, f"{search} undisturbed").values()
    assert histories(client, run) == histories(client, expected)
    assert histories(client, run, times=True).items() >= before.items() or killed_after < 3
    assert run.data.params == expected.data.params
    assert run.info.status == parent_of(client, search).info.status == "FINISHED"


def test_a_failed_trial_that_is_run_again_takes_its_new_outcome(
    client: MlflowClient, uri: str, search: str, folder: Storage
):
    tracker = begin(Recorder.start, uri, folder, search)
    record(tracker, folder, trial(0, outcome="failed"))
    assert tracker.close()
    failed = tracker.run_id(0)
    again = begin(Recorder.resume, uri, folder, search)
    record(again, folder, trial(0))
    assert again.close()
    assert again.run_id(0) == failed
    run = client.get_run(failed)
    assert (run.info.status, run.data.tags["perft.outcome"]) == ("FINISHED", "complete")
    assert run.data.tags["mlflow.note.content"] == ""


def test_searches_of_one_name_and_place_are_told_apart(
    client: MlflowClient, uri: str, search: str, folder: Storage
):
    assert begin(Recorder.start, uri, folder, search).close()
    folder.delete("records")
    assert begin(Recorder.start, uri, folder, search).close()
    assert len(runs_of(client, f"tags.`perft.search` = '{search}'")) == 2


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_no_run_stays_running_when_a_search_ends_and_all_go_on_after_it(
    client: MlflowClient, uri: str, search: str, folder: Storage, status: Any
):
    tracker = begin(Recorder.start, uri, folder, search)
    record(tracker, folder, trial(0))
    tracker.start_trial(1, trial(1).config)
    tracker.finish(status)
    assert tracker.close()
    assert parent_of(client, search).info.status == status
    assert [run.info.status for _, run in sorted(children_of(client, search).items())] == [
        "FINISHED",
        status,
    ]
    again = begin(Recorder.resume, uri, folder, search)
    assert again.wait()
    assert parent_of(client, search).info.status == "RUNNING"
    assert children_of(client, search)[1].info.status == "RUNNING"
    record(again, folder, trial(1))
    again.finish("FINISHED", front=[1])
    assert again.close()
    runs = (parent_of(client, search), *children_of(client, search).values())
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_runs_of_a_killed_search_are_ended_when_the_last_was_heard_of_it(
    client: MlflowClient, uri: str, search: str, folder: Storage
):
    tracker = begin(Recorder.start, uri, folder, search)
    record(tracker, folder, trial(0))
    for number in (1, 2):
        tracker.start_trial(number, trial(number).config)
    assert tracker.close()
    folder.delete("records/0002.json")  # it had not reached the disk
    assert begin(Recorder.catch_up, uri, folder, search).close()
    assert [run.info.status for _, run in sorted(children_of(client, search).items())] == [
        "FINISHED",
        "KILLED",
        "KILLED",
    ]
    parent = parent_of(client, search)
    assert parent.info.status == "KILLED"
    assert parent.info.end_time == children_of(client, search)[1].info.start_time


def test_a_store_that_has_nothing_of_a_search_gets_all_of_it(
    client: MlflowClient, uri: str, finished: Storage, tmp_path: Path
):
    """Metrics with the times at which they were measured."""
    shutil.copytree(finished.uri, tmp_path / "copied")
    record = tmp_path / "copied/records/search.json"
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "name": "copied", "key": "new"})
    )
    copied = Storage(str(tmp_path / "copied"))
    assert begin(Recorder.catch_up, uri, copied, "copied").close()
    children = children_of(client, "copied")
    for number, expected in children_of(client, "finished").items():
        run = children[number]
        assert histories(client, run, times=True) == histories(client, expected, times=True)
        assert run.data.params == expected.data.params
        for tag in ("perft.outcome", "perft.front", "perft.variant", "mlflow.note.content"):
            assert run.data.tags.get(tag) == expected.data.tags.get(tag)
        for times in ("status", "start_time", "end_time"):
            assert getattr(run.info, times) == getattr(expected.info, times)
        for folder in (None, "adapter", "predictions"):
            found, wanted = (
                {file.path for file in client.list_artifacts(one.info.run_id, folder)}
                for one in (run, expected)
            )
            assert found == wanted


class LosesAnswers:
    """A client whose first two calls of every kind and on every run are done, and then fail."""

    def __init__(self, client: MlflowClient, calls: Counter[Any]) -> None:
        self._client = client
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            answer = getattr(self._client, name)(*args, **options)
            key = (name, str(args[0]), options.get("run_name"))
            self._calls[key] += 1
            if name not in ("search_runs", "log_dict") and self._calls[key] <= 2:
                raise ConnectionError("the answer is lost")
            return answer

        return call


def test_an_answer_that_is_lost_doubles_nothing(
    client: MlflowClient,
    uri: str,
    search: str,
    folder: Storage,
    finished: Storage,
    monkeypatch: pytest.MonkeyPatch,
):
    tracker = begin(Recorder.start, uri, folder, search)
    assert tracker.wait()
    calls: Counter[Any] = Counter()
    monkeypatch.setattr(sender, "_PAUSES", (0.0,))
    known, experiment = connect(uri)
    monkeypatch.setattr(runs, "connect", lambda _uri: (LosesAnswers(known, calls), experiment))
    tracker._sender._runs = None
    for result in search_of_six():
        record(tracker, folder, result)
    tracker.finish("FINISHED", front=[0, 1, 3])
    assert tracker.close()
    assert {"create_run", "log_batch", "log_artifacts", "set_terminated", "set_tag"} <= {
        name for name, *_ in calls
    }
    expected, children = children_of(client, "finished"), children_of(client, search)
    assert children.keys() == expected.keys()
    for number, run in children.items():
        found, wanted = histories(client, run), histories(client, expected[number])
        assert found == {name: all_ for name, all_ in wanted.items() if "test_" not in name}
        assert run.info.status == expected[number].info.status
