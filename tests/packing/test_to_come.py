"""Whether a cluster's autoscaler can bring up machines with GPUs, as it says itself."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from perft.compat import ray as compat
from perft.packing.machines import autoscaler_brings_gpus

HERE, ELSEWHERE = "10.0.0.1:6379", "10.0.0.2:6379"
TYPES = {
    "head": {"resources": {"CPU": 4}},
    "gpu": {"resources": {"CPU": 8, "GPU": 4}},
    "later": {},
}


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the autoscaler says to the cluster."""
    found: dict[str, int] = {}
    context = SimpleNamespace(gcs_address=HERE)
    told = SimpleNamespace(get_max_resources_from_cluster_config=lambda: found or None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(compat, "_most_resources", told.get_max_resources_from_cluster_config)
    return found


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Callable[[str, Any], None]]:
    """Starts what looks like the autoscaler of a cluster that was started on this machine."""
    started: list[subprocess.Popen[str]] = []

    def start(address: str, config: Any) -> None:
        file = tmp_path / "config.yaml"
        file.write_text(config if isinstance(config, str) else json.dumps(config))
        options = (f"--gcs-address={address}", f"--autoscaling-config={file}")
        program = "print('up', flush=True); import time; time.sleep(600)"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *options], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

    yield start
    for process in started:
        with process:
            process.kill()


def test_a_cluster_says_it_itself(offered: dict[str, int]) -> None:
    assert not autoscaler_brings_gpus()
    offered |= {"CPU": 64, "GPU": 0}
    assert not autoscaler_brings_gpus()
    offered["GPU"] = 8
    assert autoscaler_brings_gpus()


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("address", "config", "found"),
    [
        (HERE, {"available_node_types": TYPES}, True),
        (ELSEWHERE, {"available_node_types": TYPES}, False),
        (HERE, {"available_node_types": {"head": TYPES["head"]}}, False),
        (HERE, {}, False),
        (HERE, "{", False),
        (HERE, "[]", False),
    ],
)
def test_so_does_the_configuration_that_its_autoscaler_has(
    address: str, config: Any, found: bool, monitor: Callable[[str, Any], None]
) -> None:
    monitor(address, config)
    assert autoscaler_brings_gpus() == found
