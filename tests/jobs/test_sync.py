"""`jobs/sync.py`: completes a search's runs from its folder, and ends those of a killed one."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from perft.cli import run
from perft.commands.sync import main
from perft.searching.lock import locked
from perft.searching.prepare import SearchRequest, prepare
from perft.searching.settings import SearchSettings
from perft.selection import read_results, result_line, write_results
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord, TrialRecord
from pretend import report, trial

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

STARTED = 1_700_000_000_000
"""Milliseconds since 1970: long ago."""


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def search(uri: str) -> Storage:
    """What a search leaves that was killed while MLflow was away: one trial ended, one had not."""
    plan = prepare(SearchRequest(space="arithmetic", name="first", validation_size=20, max_steps=8))
    plan.settings.write(plan.search)
    ended = dataclasses.replace(trial(0, outcome="pruned"), run_id="")
    write_results(plan.search, [result_line(ended)])
    records = Records(
        plan.search, SearchRecord(name="first", place="there", params={}, started=STARTED)
    )
    records.keep_search(records.search)
    at = tuple((STARTED + 1000 * one.step, one) for one in ended.reports)
    for number, outcome in ((0, "pruned"), (1, None)):
        records.keep(
            TrialRecord(
                number=number,
                config=trial(number).config,
                started=STARTED,
                size=ended.size,
                reports=at,
                outcome=outcome,  # type: ignore[arg-type]
                ended=STARTED + 60_000 if outcome else None,
            )
        )
    return plan.search


def sync(*options: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(main, list(options))
    return int(str(ended.value.code or 0))


def runs(uri: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("perft").experiment_id
    found = client.search_runs([experiment])
    named = {run.info.run_name.split()[0]: run for run in found}
    assert len(named) == len(found), "a run is there twice"
    return named


def test_what_mlflow_missed_is_there_once_with_its_times(uri: str, search: Storage):
    for _ in range(2):
        assert sync("--name", "first") == 0
    found = runs(uri)
    assert {name: run.info.status for name, run in found.items()} == {
        "first": "KILLED",
        "0000": "FINISHED",
        "0001": "KILLED",
    }
    assert found["first"].info.start_time == STARTED
    assert found["first"].info.end_time == STARTED + 60_000
    (point,) = MlflowClient(uri).get_metric_history(found["0001"].info.run_id, "val_loss")
    one = report(50, 50)
    assert (point.step, point.value, point.timestamp) == (50, one.val_loss, STARTED + 50_000)
    (result,) = read_results(search)
    assert result.run_id == found["0000"].info.run_id


def test_a_search_that_ran_without_mlflow_can_be_shown_there(uri: str, search: Storage):
    settings = dataclasses.replace(SearchSettings.read(search), tracker="folder", tracking_uri="")
    settings.write(search)
    store = Path(uri.removeprefix("sqlite:///"))
    store.unlink()  # `prepare` has tried it
    assert sync("--name", "first") == 0
    assert search.exists("tracked/trials.parquet")
    assert not store.exists()
    assert sync("--name", "first", "--tracker", "mlflow") == 0
    assert sorted(runs(uri)) == ["0000", "0001", "first"]
    assert SearchSettings.read(search).tracker == "folder"


def test_a_running_search_sends_everything_itself(
    uri: str, search: Storage, capsys: pytest.CaptureFixture[str]
):
    with locked(search, "first"):
        assert sync("--name", "first") == 2
    assert "is running as process" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["http://127.0.0.1:1", "http://***@tracking", "nonsense://x"])
def test_a_place_that_cannot_be_used_is_one_line(
    search: Storage, capsys: pytest.CaptureFixture[str], place: str
):
    settings = SearchSettings.read(search)
    dataclasses.replace(settings, tracking_uri=place).write(search)
    assert sync("--name", "first") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert place in line
    assert "MLFLOW_TRACKING_URI" in line


def test_a_search_that_is_not_there_is_named(uri: str, capsys: pytest.CaptureFixture[str]):
    assert sync("--name", "nosuch") == 2
    assert "there is no search 'nosuch'" in capsys.readouterr().err


def test_help_needs_no_mlflow():
    code = "import sys, perft.commands.sync; assert not {'mlflow', 'ray'} & sys.modules.keys()"
    repository = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=repository)
