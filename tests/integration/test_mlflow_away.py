"""A search whose MLflow goes away goes on, misses nothing in the end, and keeps no secret."""

import contextlib
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from searches import FIRST_ROUND, SEARCH, SIZE, SPACE, Job

from doors import serving
from perft.compat.ray import temporary_folder
from perft.selection import pareto_front, read_results
from perft.storage import Storage

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
    # MLflow 3.17's server and store; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated"),
]

SECRET = "correct-horse-battery-staple"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_TOKEN")
AWAY = "503 Service Unavailable"


def test_mlflow_that_goes_away_is_told_all_later(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in SECRETS:
        monkeypatch.setenv(name, f"{SECRET}-{name}")
    # A server in this process sets the variable, too; so it is undone first.
    with serving(tmp_path) as (host, door), pytest.MonkeyPatch.context() as inside:
        door.lock("ann", SECRET)
        inside.setenv("MLFLOW_TRACKING_URI", f"http://ann:{SECRET}@{host}")
        started = time.time()
        job = start(
            *SEARCH, *SPACE, *SIZE, "--groups", "1", "--slots", str(FIRST_ROUND), "--name", "away"
        )
        job.until(lambda: job.rungs >= 1)
        shown = [psutil.Process(pid).cmdline() for pid in job.family.look()]
        assert SECRET not in str(shown)
        door.status = AWAY
        assert job.end() == 0, job.errors
        assert f"MLflow at http://***@{host} has not all records" in job.output
        assert "jobs/sync.py --name away" in job.output
        refused = start("jobs/sync.py", "--name", "away", home=job.home)
        assert refused.end() == 2
        assert len(refused.errors.splitlines()) == 1

        door.status = ""
        ended = time.time()
        for _ in range(2):
            synced = start("jobs/sync.py", "--name", "away", home=job.home)
            assert synced.end() == 0, synced.errors
        door.wants = ""
        require_whole(host, job, started, ended)
    require_no_secret(job, refused, synced, since=started, folder=tmp_path)


def require_whole(host: str, job: Job, started: float, ended: float) -> None:
    """Every number is there once, with a time at which the search ran; the runs are named."""
    client = MlflowClient(f"http://{host}")
    experiment = client.get_experiment_by_name("perft").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`perft.search` = 'away'")
    assert parent.info.status == "FINISHED"
    results = read_results(Storage(str(job.home / "searches/away")))
    front = {trial.number for trial in pareto_front(results)}
    assert len(client.search_runs([experiment])) == 1 + len(results)
    for result in results:
        run = client.get_run(result.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["perft.outcome"] == result.outcome
        assert run.data.tags["perft.front"] == str(result.number in front).lower()
        assert bool(client.list_artifacts(result.run_id, "adapter")) == (
            result.outcome == "complete"
        )
        for name in ("val_loss", "train_loss"):
            history = client.get_metric_history(result.run_id, name)
            found = [(one.step, one.value) for one in history]
            assert found == [(one.step, getattr(one, name)) for one in result.reports]
            assert all(started < one.timestamp / 1000 < ended for one in history)


def require_no_secret(*jobs: Job, since: float, folder: Path) -> None:
    """Neither in what was printed, nor in any file that was written since, Ray's logs included."""
    for job in jobs:
        assert SECRET not in job.output + job.errors
    for place in (jobs[0].home, folder, *temporary_folder().glob("session_*/logs")):
        for file in place.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # another's, that has ended
                if file.is_file() and not file.is_symlink() and file.stat().st_mtime >= since:
                    assert SECRET.encode() not in file.read_bytes(), file
