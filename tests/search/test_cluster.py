"""A Ray of one's own gets the environment of its processes, and its processes take turns."""

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import ray

from perft.search.cluster import WORKER_ENVIRONMENT, start_ray

HERE = "batch" if sys.platform == "linux" else "no policies"
PROGRAM = """
import os
known = hasattr(os, "sched_getscheduler")
print("no policies" if not known else "batch" if os.sched_getscheduler(0) == os.SCHED_BATCH else "")
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What `ray.init` is called with; there is no cluster to join."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def init(address: str, **options: Any) -> None:
        calls.append((address, options))
        if address == "auto":
            raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("RAY_ADDRESS", None)
    return calls


def in_a_thread(work: Any) -> None:
    """Of its own, since a scheduling policy is a thread's and stays with it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_one_is_started_where_there_is_none(asked: list[tuple[str, dict[str, Any]]]) -> None:
    in_a_thread(start_ray)
    assert [address for address, _ in asked] == ["auto", "local"]
    assert asked[0][1]["runtime_env"] == {"env_vars": WORKER_ENVIRONMENT}
    assert "runtime_env" not in asked[1][1]
    assert WORKER_ENVIRONMENT.items() <= os.environ.items()


def test_its_processes_inherit_the_policy(asked: list[tuple[str, dict[str, Any]]]) -> None:
    found: list[str] = []

    def start() -> None:
        start_ray()
        child = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
        found.append(child.stdout.strip())

    in_a_thread(start)
    assert found == [HERE]


def test_a_cluster_that_is_named_and_gone_is_not_replaced(
    asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ["RAY_ADDRESS"] = "10.0.0.1:6379"
    with pytest.raises(ConnectionError, match="no cluster"):
        start_ray()
    assert [address for address, _ in asked] == ["auto"]
