"""A search leaves its process as it was, whatever ends it and whichever Ray it runs on."""

import logging
import os
import signal
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import auto_init_hook, ray_constants
from rich.console import Console

from perft.errors import InterruptedSearchError, SearchError
from perft.searching import run as running
from perft.searching.cluster import Cluster
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.run import run_search
from perft.searching.stages import Stages
from process_state import changed, process_state

CLUSTERS = {
    "own": Cluster(None, "own"),
    "joined": Cluster("10.0.0.1:6379", "joined"),
    "the caller's": Cluster(None, "the caller's", is_up=True),
}


class Recorder:
    """Stands for the tracker: takes note of what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_more: self.told.append(name)


@pytest.fixture
def plan(tmp_path: Path) -> SearchPlan:
    search_request = SearchRequest(
        space="arithmetic", name="first", storage=str(tmp_path), validation_size=20
    )
    return prepare(search_request)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the process is like while a search runs whose Ray is not started."""
    seen: dict[str, Any] = {"ended": 0, "tracker": Recorder()}

    def init(*_where: Any, **_options: Any) -> None:
        seen["started"] = process_state()
        signal.signal(signal.SIGTERM, lambda *_: None)  # as the real one does
        os.environ["PYTHONBREAKPOINT"] = "ray.util.rpdb._driver_set_trace"
        logging.getLogger("ray").setLevel(logging.ERROR)

    def shutdown() -> None:
        seen["ended"] += 1

    def open_tracker(*_about: Any) -> Recorder:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = "open sesame"
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        return seen["tracker"]

    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", shutdown)
    monkeypatch.setattr(running, "_open_recorder", open_tracker)
    monkeypatch.setattr(running, "import_drawing", lambda: None)
    return seen


@pytest.mark.parametrize("kind", CLUSTERS)
@pytest.mark.parametrize("error", [SearchError("no room"), KeyboardInterrupt()])
def test_a_search_leaves_the_process_as_it_was(
    kind: str,
    error: BaseException,
    plan: SearchPlan,
    seen: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks_off(*_args: Any, **_options: Any) -> None:
        seen["running"] = process_state()
        seen["connects"] = auto_init_hook.enable_auto_connect
        raise error

    monkeypatch.setattr(running, "find_cluster", lambda: CLUSTERS[kind])
    monkeypatch.setattr(running, "shape_on", breaks_off)
    # Another test of this process may have silenced it already.
    monkeypatch.setattr(logging.getLogger("mlflow"), "level", logging.INFO)
    before = process_state()
    library = auto_init_hook.enable_auto_connect, ray_constants.ENABLE_RAY_CLUSTER
    wanted = InterruptedSearchError if isinstance(error, KeyboardInterrupt) else SearchError
    with pytest.raises(wanted):
        run_search(plan, Stages(Console(file=StringIO())))
    assert changed(before, process_state()) == {}
    assert (auto_init_hook.enable_auto_connect, ray_constants.ENABLE_RAY_CLUSTER) == library

    # It did change it, and has its caller's signal handlers back as soon as Ray is up.
    while_running = changed(before, seen["running"])
    assert {"environment", "loggers", "warnings"} <= while_running.keys()
    assert seen["running"]["environment"]["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
    assert "signal handlers" not in while_running
    assert not seen["connects"]
    if kind == "own" and hasattr(os, "SCHED_BATCH"):
        assert seen["running"]["scheduling"][0] == os.SCHED_BATCH
    assert "finish" in seen["tracker"].told

    # Only a Ray that the search has connected to is ended.
    assert ("started" in seen) == bool(seen["ended"]) == (kind != "the caller's")


def test_a_ray_that_does_not_start_leaves_the_process_as_it_was(
    plan: SearchPlan, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_where: Any, **_options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        warnings.simplefilter("ignore")
        raise OSError("no ports")

    monkeypatch.setattr(ray, "init", init)
    before = process_state()
    with pytest.raises(SearchError, match="Ray did not start on this machine: no ports"):
        run_search(plan, Stages(Console(file=StringIO())))
    assert changed(before, process_state()) == {}


def test_the_ray_of_this_process_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    found = running.find_cluster()
    assert found == Cluster(None, "using the Ray that this process is connected to", is_up=True)
    assert not found.is_own
