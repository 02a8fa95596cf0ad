"""What the MLflow run of a search says: metrics, a note, datasets, what started it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.data import get_source
from mlflow.entities import Run

from perft.selection.files import result_files
from perft.selection.hypervolume import BUILTIN, hypervolume_of
from perft.storage import Storage
from perft.tasks import TaskSource, load_task
from perft.tracking import Recorder, Tracking, datasets_of, tracker_of
from perft.tracking.mlflow.client import KIND, connect
from perft.tracking.mlflow.note import MOST_ROWS, note_of
from perft.tracking.records import Records, SearchRecord
from perft.trial import AnswerCount
from pretend import BASE, SETTINGS, search_of_six, store_adapters, trial

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

SOURCE = TaskSource(name="arithmetic", validation_size=20)


def tracking(uri: str, folder: Storage, name: str) -> Tracking:
    return Tracking(
        tracker=tracker_of("mlflow"), place=uri, folder=folder, name=name, params=SETTINGS,
        tell=print, later=lambda: "perft sync",
    )  # fmt: skip


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def folder(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Of a search of six that has ended, and is in the store."""
    folder = Storage(str(tmp_path_factory.mktemp("searches"))).child("first").prepare()
    recorder = Recorder.start(tracking(uri, folder, "first"))
    recorder.log_params(SETTINGS, datasets_of(load_task(SOURCE), SOURCE))
    results = search_of_six()
    store_adapters(folder, results)
    for result in results:
        recorder.start_trial(result.number, result.config, {"lr": 0.005})
        for report in result.reports:
            assert result.size is not None
            recorder.report(result.number, result.size, report)
        adapter = f"adapters/{result.number:04d}" if result.outcome == "complete" else ""
        recorder.end_trial(result, adapter)
    files = result_files(results, "first")
    for name, data in files.items():
        folder.write(name, data)
    recorder.finish(
        "FINISHED", front=[0, 1, 3], files=list(files), base=BASE,
        scores={3: {"addsub": AnswerCount(12, 395)}}, seconds=1800.0, gpu_seconds=7200.0,
    )  # fmt: skip
    assert recorder.close()
    return folder


@pytest.fixture
def run(uri: str, folder: Storage) -> Run:
    return parent_of(uri, "first")


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def parent_of(uri: str, name: str) -> Run:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("perft").experiment_id
    (found,) = client.search_runs([experiment], f"tags.`perft.search` = '{name}'")
    return client.get_run(found.info.run_id)


def test_its_metrics_are_those_of_the_front(run: Run):
    expected = {
        "best_accuracy": 0.85, "best_activated_parameters": 40_000, "best_val_loss": 1.0,
        "knee_accuracy": 0.75, "knee_activated_parameters": 4_000,
        "best_test_accuracy/addsub": 12 / 395, "front_size": 3,
        "trials_ended": 6, "trials_complete": 4, "trials_pruned": 1, "trials_failed": 1,
        "hypervolume": hypervolume_of(search_of_six(), BUILTIN), "hours": 0.5, "gpu_hours": 2.0,
    }  # fmt: skip
    assert run.data.metrics.items() >= expected.items()
    assert (run.data.tags["perft.best"], run.data.tags["perft.knee"]) == ("3", "1")


def test_its_curves_go_over_the_trials_that_have_ended(client: MlflowClient, run: Run):
    history = client.get_metric_history(run.info.run_id, "best_accuracy")
    assert [(each.step, each.value) for each in history] == [
        (1, 0.3), (2, 0.75), (3, 0.75), (4, 0.85), (5, 0.85), (6, 0.85),
    ]  # fmt: skip


def test_its_note_has_the_front_the_plot_and_the_commands(run: Run):
    note = run.data.tags["mlflow.note.content"]
    assert "perft search `first` has ended: 6 trials." in note
    rows = [line.split(" | ") for line in note.splitlines() if line.startswith("| ")]
    assert [row[0].strip("| ").partition("]")[0].strip("[") for row in rows] == [
        "trial", "base", "0000", "0001", "0003",
    ]  # fmt: skip
    assert rows[-1][1] == "85.0% (81.2-88.2)"
    assert rows[-1][-2:] == ["lora-qv r8 lr 0.005", "best |"]
    assert f"get-artifact?path=pareto-small.png&run_uuid={run.info.run_id}" in note
    for command in ("pareto --name first", "export --name first", "search --resume first"):
        assert command in note


def test_a_note_of_a_long_front_fits_a_tag():
    search = SearchRecord(name="n" * 100, place="/s/" + "n" * 100, params=SETTINGS)
    results = [trial(i, correct=i + 1, activated=1000 + i) for i in range(300)]
    ids = {result.number: "f" * 32 for result in results}
    note = note_of(search, results, "f" * 32, "1", ids)
    assert len(note) < 5000
    assert f"{300 - MOST_ROWS} more trials of the front" in note
    assert "| best" in note


def test_its_datasets_have_digests_and_sources(run: Run):
    task = load_task(SOURCE)
    assert run.inputs is not None
    found = {
        each.tags[0].value: each.dataset
        for each in run.inputs.dataset_inputs
        if each.tags[0].key == "mlflow.data.context"
    }
    assert found.keys() == {"train", "validation", "test"}
    assert found["validation"].name == "arithmetic/validation"
    assert json.loads(found["validation"].profile) == {"num_rows": len(task.validation.examples)}
    assert len({each.digest for each in found.values()}) == 3
    assert get_source(found["train"]).to_dict()["tags"]["perft.seed"] == "0"


def test_a_dataset_of_files_names_their_folder(tmp_path: Path):
    (tmp_path / "here").mkdir()
    source = replace(SOURCE, data=str(tmp_path / "here"))
    found = datasets_of(load_task(SOURCE), source)
    assert {each.place for each in found} == {str((tmp_path / "here").resolve())}
    again = datasets_of(load_task(replace(SOURCE, seed=1)), source)
    assert {each.digest for each in again}.isdisjoint(each.digest for each in found[1:2])


def test_it_says_what_started_it_also_when_another_process_sends_it(
    uri: str, run: Run, folder: Storage, tmp_path: Path
):
    tags = run.data.tags
    assert tags["mlflow.source.name"].endswith("search")
    assert tags["mlflow.source.type"] == "LOCAL"
    source = Records.read(folder, SearchRecord(name="", place="", params={})).search.source
    assert source is not None
    assert tags.get("mlflow.user", "") == source.user
    assert tags.get("mlflow.source.git.commit", "") == source.commit


def test_a_place_that_has_nothing_gets_the_same_run(
    run: Run, client: MlflowClient, folder: Storage, tmp_path: Path
):
    elsewhere = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        assert Recorder.catch_up(tracking(elsewhere, folder, "first")).close()
    again = parent_of(elsewhere, "first")
    assert again.data.params == run.data.params
    assert again.data.metrics == run.data.metrics
    for name in run.data.metrics:
        found, wanted = (
            [(m.step, m.value, m.timestamp) for m in each.get_metric_history(one, name)]
            for each, one in (
                (MlflowClient(elsewhere), again.info.run_id),
                (client, run.info.run_id),
            )
        )
        assert found == wanted, name
    ids = ("mlflow.note.content",)
    assert {t: v for t, v in again.data.tags.items() if t not in ids} == {
        t: v for t, v in run.data.tags.items() if t not in ids
    }
    assert again.inputs.dataset_inputs == run.inputs.dataset_inputs


def test_the_experiment_opens_on_its_runs(tmp_path: Path):
    """Also one of an earlier version; what the user has chosen stays."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client, experiment = connect(uri)
    assert client.get_experiment(experiment).tags[KIND] == "custom_model_development"
    client.set_experiment_tag(experiment, KIND, "genai_development")
    connect(uri)
    assert client.get_experiment(experiment).tags[KIND] == "genai_development"


def test_records_of_earlier_versions_are_read():
    record = SearchRecord(name="first", place="/s/first", params=SETTINGS).to_json()
    for name in ("source", "datasets", "seconds", "gpu_seconds"):
        del record[name]
    found = SearchRecord.from_json(json.loads(json.dumps(record)))
    assert (found.source, found.datasets, found.seconds) == (None, (), None)
