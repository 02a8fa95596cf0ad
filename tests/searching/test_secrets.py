"""Passwords and keys of a search are shown nowhere and kept nowhere, and asked for again."""

import dataclasses
from pathlib import Path

import pytest
from mlflow import MlflowClient

import pretend
from perft.errors import SearchError
from perft.export import Score, export_adapter
from perft.packing.messages import Reported, Scored
from perft.searching.conclude import conclude
from perft.searching.ledger import Ledger
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.resume import prepare_resume
from perft.searching.settings import SearchSettings
from perft.searching.sync import tracking_of
from perft.selection import pick, read_results
from perft.tracking import Recorder, tracker_of
from perft.tracking.mlflow import tracker as mlflow_tracker

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

SECRET = "correct-horse-battery-staple"
VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")
URI = f"http://ann:{SECRET}@tracking:5000/prefix"
MASKED = "http://***@tracking:5000/prefix"
FULL = 8


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchPlan:
    """A new search whose MLflow wants a login, which its user has given."""
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    monkeypatch.setattr(mlflow_tracker, "require_usable", lambda _uri: None)  # nobody is there
    search_request = SearchRequest(
        space="arithmetic", name="first", validation_size=20, max_steps=FULL
    )
    plan = prepare(search_request)
    plan.settings.write(plan.search)
    return plan


def test_a_login_is_kept_nowhere_and_asked_for_again(
    plan: SearchPlan, monkeypatch: pytest.MonkeyPatch
):
    assert plan.tracking_uri == URI
    assert SearchSettings.read(plan.search).tracking_uri == MASKED
    again = prepare_resume("first", None)
    assert (again.tracking_uri, again.settings.tracking_uri) == (URI, MASKED)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(SearchError, match="set MLFLOW_TRACKING_URI") as caught:
        prepare_resume("first", None)
    assert MASKED in str(caught.value)


def test_a_search_goes_on_where_it_was_recorded_unless_told_otherwise(
    plan: SearchPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = f"sqlite:///{tmp_path}/there.db"
    dataclasses.replace(plan.settings, tracking_uri=place).write(plan.search)
    assert prepare_resume("first", None).tracking_uri == URI
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert prepare_resume("first", None).tracking_uri == place


def test_whatever_a_search_writes_holds_no_secret(plan: SearchPlan, tmp_path: Path):
    told: list[str] = []
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    settings = plan.settings.to_json()
    tracking = tracking_of(plan.search, plan.settings, tracker_of("mlflow"), uri, told.append)
    tracker = Recorder.start(tracking)
    tracker.log_params(settings)
    ledger = Ledger(plan.search, tracker)
    size = pretend.trial(0).size
    assert size is not None
    for number in (0, 1):
        config = pretend.trial(number).config
        training = dataclasses.replace(config.training, max_steps=FULL, warmup_steps=0)
        ledger.start(number, dataclasses.replace(config, training=training))
        ledger.report(number, Reported(pretend.report(FULL, 300), size))
    pretend.store_adapters(plan.search, [pretend.trial(0)])
    ledger.end(0)
    ledger.end(1, f"cannot write s3://KEY:{SECRET}@bucket/x?secret_key={SECRET}")
    conclude(plan, ledger, tracker, Scored(), lambda: None)
    assert tracker.close()
    ledger.complete_runs()

    picked = pick(read_results(plan.search), "best")
    score = Score(split="validation", correct=300, scored=400, low=0.7, high=0.8)
    export_adapter(
        plan.search,
        picked,
        SearchSettings.read(plan.search).to_json(),
        tmp_path / "exported",
        scores=[score],
    )
    assert MlflowClient(uri).get_run(picked.run_id).info.status == "FINISHED"
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert names >= {"search.json", "results.json", "README.md", "mlflow.db", "environment.txt"}
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in "".join(told)
