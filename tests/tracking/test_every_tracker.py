"""What every tracker promises: the same calls, and a reader who sees the same of each."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from perft.errors import ConfigError
from perft.search_folder import TRACKED_CURVES, TRACKED_RUN, TRACKED_TRIALS
from perft.selection import confirmed, to_frame
from perft.storage import Storage
from perft.tracking import TRACKERS, Recorder, Tracking, is_sent, tracker_of
from perft.tracking.folder import SECONDS_BETWEEN
from perft.tracking.records import Records
from perft.trial import TrialResult
from pretend import BASE, SETTINGS, adapter_files, search_of_six, search_of_six_confirmed, trial

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

FRONT, SCORES = [0, 1, 3], {3: {"addsub": (12, 395)}}


@dataclass(frozen=True)
class Shown:
    """What one tracker shows of a trial."""

    status: str
    outcome: str | None
    on_front: bool
    losses: dict[int, float]
    activated: int | None
    test_accuracy: float | None


@dataclass(frozen=True)
class Search:
    """A search's folder, and how to see what its tracker shows."""

    folder: Storage
    begin: Callable[..., Recorder]
    status: Callable[[], str]
    trials: Callable[[], dict[int, Shown]]


def with_mlflow(folder: Storage, uri: str, name: str) -> Search:
    client = MlflowClient(uri)

    def runs(query: str) -> list[Any]:
        experiment = client.get_experiment_by_name("perft").experiment_id
        return list(client.search_runs([experiment], query))

    def parent() -> Any:
        (found,) = runs(f"tags.`perft.search` = '{name}'")
        return found

    def trials() -> dict[int, Shown]:
        found = runs(f"tags.`mlflow.parentRunId` = '{parent().info.run_id}'")
        assert len({run.data.tags["perft.trial"] for run in found}) == len(found)
        return {
            int(run.data.tags["perft.trial"]): Shown(
                run.info.status,
                run.data.tags.get("perft.outcome"),
                run.data.tags.get("perft.front") == "true",
                {m.step: m.value for m in client.get_metric_history(run.info.run_id, "val_loss")},
                run.data.metrics.get("activated_parameters"),
                run.data.metrics.get("test_accuracy/addsub"),
            )
            for run in found
        }

    return Search(folder, opener("mlflow", uri, folder, name), lambda: parent().info.status, trials)


def with_folder(folder: Storage, _uri: str = "", name: str = "first") -> Search:
    def trials() -> dict[int, Shown]:
        rows = read(folder, TRACKED_TRIALS).to_dict("records")
        curves = read(folder, TRACKED_CURVES)
        return {
            row["number"]: Shown(
                row["status"],
                known(row["outcome"]),
                row["on_front"],
                curves[curves["number"] == row["number"]].set_index("step")["val_loss"].to_dict(),
                known(row.get("activated")),
                known(row.get("test_accuracy/addsub")),
            )
            for row in rows
        }

    place = tracker_of("folder").new_place()
    return Search(
        folder,
        opener("folder", place, folder, name),
        lambda: json.loads(folder.read(TRACKED_RUN))["status"],
        trials,
    )


WAYS = {"mlflow": with_mlflow, "folder": with_folder}


def opener(tracker: str, place: str, folder: Storage, name: str) -> Callable[..., Recorder]:
    tracking = Tracking(
        tracker=tracker_of(tracker), place=place, folder=folder, name=name, params=SETTINGS,
        tell=print, later=lambda: "perft sync",
    )  # fmt: skip
    return lambda how: how(tracking)


def read(folder: Storage, name: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(folder.read(name)))


def known(value: Any) -> Any:
    return None if value is None or pd.isna(value) else value


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: each has a search of its own in it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(params=TRACKERS)
def search(request: pytest.FixtureRequest, tmp_path: Path, uri: str) -> Search:
    folder = Storage(str(tmp_path / "search")).prepare()
    return WAYS[request.param](folder, uri, request.node.name)


def record(recorder: Recorder, folder: Storage, result: TrialResult) -> None:
    recorder.start_trial(result.number, result.config, origin=result.origin)
    assert result.size is not None
    for one in result.reports:
        recorder.report(result.number, result.size, one)
    adapter = ""
    if result.outcome == "complete":
        adapter = f"adapters/{result.number:04d}"
        for name, data in adapter_files(result.number).items():
            folder.write(f"{adapter}/{name}", data)
    recorder.end_trial(result, adapter)


def as_ended(result: TrialResult) -> Shown:
    assert result.size is not None
    return Shown(
        "FAILED" if result.outcome == "failed" else "FINISHED",
        result.outcome,
        result.number in FRONT,
        {one.step: one.val_loss for one in result.reports},
        result.size.activated,
        12 / 395 if result.number in SCORES else None,
    )


def test_a_search_that_ran_to_its_end_is_shown_as_it_was(search: Search):
    recorder = search.begin(Recorder.start)
    assert search.status() == "RUNNING"
    recorder.log_params(SETTINGS)
    for result in search_of_six():
        record(recorder, search.folder, result)
    recorder.finish("FINISHED", front=FRONT, scores=SCORES)
    assert recorder.close()
    assert is_sent(search.folder)
    assert search.status() == "FINISHED"
    assert search.trials() == {each.number: as_ended(each) for each in search_of_six()}


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_what_has_not_ended_ends_with_the_search_and_goes_on_with_it(search: Search, status: Any):
    result = search_of_six()[1]
    recorder = search.begin(Recorder.start)
    recorder.start_trial(0, trial(0).config)
    recorder.start_trial(1, result.config)
    assert result.size is not None
    recorder.report(1, result.size, result.reports[0])
    recorder.finish(status)
    assert recorder.close()
    assert search.status() == status
    ended = search.trials()
    assert {(each.status, each.outcome) for each in ended.values()} == {(status, None)}
    assert list(ended[1].losses) == [50]

    again = search.begin(Recorder.resume)
    assert again.wait()
    assert not is_sent(search.folder)
    assert search.status() == "RUNNING"
    record(again, search.folder, result)
    for _ in range(2):  # nothing is there twice
        again.finish("FINISHED", front=FRONT, scores=SCORES)
    assert again.close()
    assert search.status() == "FINISHED"
    assert search.trials()[1] == as_ended(result)


def test_a_search_that_was_killed_is_completed_from_its_records(search: Search):
    recorder = search.begin(Recorder.start)
    recorder.start_trial(0, trial(0).config)
    assert recorder.wait()
    recorder._sender.close()  # the process is gone
    assert search.begin(Recorder.catch_up).close()
    assert search.status() == "KILLED"
    assert search.trials()[0].status == "KILLED"


def test_a_failed_trial_that_is_run_again_takes_its_new_outcome(search: Search):
    recorder = search.begin(Recorder.start)
    record(recorder, search.folder, trial(0, outcome="failed"))
    assert recorder.close()
    again = search.begin(Recorder.resume)
    record(again, search.folder, trial(0))
    again.finish("FINISHED", front=FRONT)
    assert again.close()
    assert search.trials()[0] == as_ended(trial(0))


def test_a_place_of_before_is_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    for tracker in TRACKERS.values():
        place = tracker.new_place()
        assert tracker.known_place(place, "first") == place
        assert tracker.known_place("", "first") == place  # it had another tracker
        assert tracker.at(place)
        assert tracker.where_to_look(place, "/searches/first")


def test_a_tracker_that_is_not_there_is_named():
    with pytest.raises(
        ConfigError, match=f"did you mean 'folder'.*known: {', '.join(sorted(TRACKERS))}"
    ):
        tracker_of("folders")


@pytest.fixture
def tables(tmp_path: Path) -> Storage:
    """The folder of a search of six trials, as the tracker of tables leaves it."""
    search = with_folder(Storage(str(tmp_path / "search")).prepare())
    recorder = search.begin(Recorder.start)
    for result in search_of_six():
        record(recorder, search.folder, result)
    recorder.finish("FINISHED", front=FRONT, scores=SCORES)
    assert recorder.close()
    return search.folder


def test_the_table_of_trials_has_what_the_searchs_own_has_and_more(tables: Storage):
    found, wanted = read(tables, TRACKED_TRIALS), to_frame(search_of_six())
    same = [name for name in wanted if name != "run_id"]
    pd.testing.assert_frame_equal(found[same], wanted[same], check_dtype=False)
    assert found["pick"].tolist() == ["", "knee", "", "best", "", ""]
    assert (found["ended"] >= found["started"]).all()
    assert str(found["started"].dtype) == "datetime64[ms, UTC]"


def test_the_tables_have_the_base_and_what_other_seeds_say(tmp_path: Path):
    search = with_folder(Storage(str(tmp_path / "search")).prepare())
    recorder, results = search.begin(Recorder.start), search_of_six_confirmed()
    for result in results:
        record(recorder, search.folder, result)
    recorder.finish("FINISHED", front=FRONT, base=BASE, confirmed=confirmed(results))
    assert recorder.close()
    found, wanted = read(search.folder, TRACKED_TRIALS), to_frame(results, BASE)
    same = [name for name in wanted if name != "run_id"]
    assert {"confirmed_mean", "origin_trial", "base_accuracy"} <= set(same)
    pd.testing.assert_frame_equal(found[same], wanted[same], check_dtype=False)
    assert found["pick"].tolist()[:4] == ["", "best knee", "", ""]
    again = Records.read(search.folder, None).search
    assert (again.base, again.confirmed) == (BASE, confirmed(results))


def test_the_curves_have_a_row_for_every_report(tables: Storage):
    curves = read(tables, TRACKED_CURVES)
    reports = [(each.number, one.step) for each in search_of_six() for one in each.reports]
    assert list(zip(curves["number"], curves["step"], strict=True)) == reports
    routed = curves[curves["number"] == 1]
    assert routed["router_load_max"].tolist() == [0.25, 0.25]
    assert curves["router_entropy"].notna().sum() == 2


def test_tables_without_a_trial_can_be_read(tmp_path: Path):
    search = with_folder(Storage(str(tmp_path / "search")).prepare())
    assert search.begin(Recorder.start).close()
    assert read(search.folder, TRACKED_TRIALS).empty
    assert read(search.folder, TRACKED_CURVES).columns.tolist()[:2] == ["number", "step"]


def test_the_tables_are_written_now_and_then_while_trials_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = [0.0]
    monkeypatch.setattr("perft.tracking.folder.time.monotonic", lambda: clock[0])
    search = with_folder(Storage(str(tmp_path / "search")).prepare())
    recorder = search.begin(Recorder.start)
    record(recorder, search.folder, trial(0))
    assert recorder._sender.wait(30.0)
    assert not search.trials()
    clock[0] += SECONDS_BETWEEN
    record(recorder, search.folder, trial(1))
    assert recorder._sender.wait(30.0)
    assert sorted(search.trials()) == [0, 1]
    recorder.close()


def test_the_columns_are_documented(tables: Storage):
    page = (Path(__file__).parents[2] / "docs/tracking.md").read_text()
    settings = {name for each in search_of_six() for name in each.config.to_flat()}
    for name in (*read(tables, TRACKED_TRIALS), *read(tables, TRACKED_CURVES)):
        assert name in settings or f"`{name.partition('/')[0]}" in page, name


def test_the_tracker_of_tables_takes_no_mlflow(tmp_path: Path):
    code = f"""
import sys
sys.path[:0] = ["tests", "tests/integration"]
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, tracker_of
from pretend import SETTINGS, trial
folder = Storage({str(tmp_path)!r}).prepare()
told = dict(name="first", params=SETTINGS, tell=print, later=str)
tracking = Tracking(tracker=tracker_of("folder"), place="", folder=folder, **told)
recorder = Recorder.start(tracking)
recorder.start_trial(0, trial(0).config)
recorder.finish("FINISHED")
assert recorder.close()
assert folder.exists("tracked/trials.parquet")
assert "mlflow" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
