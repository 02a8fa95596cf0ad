"""What every test may rely on: no network, no state of the user's, no hardware taken for granted.

A test that was asked for and lacks its hardware or program fails: it never passes silently.
"""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from searches import FIRST_ROUND, REFERENCE, SEARCH, SIZE, SPACE, Job, starter

settings.register_profile("perft", deadline=None)  # tests time nothing
settings.load_profile("perft")

# Read when the libraries are imported, hence before any test module is collected.
os.environ.update(
    # Threads of torch that wait by spinning take twenty times the CPU on a busy machine.
    OMP_WAIT_POLICY="PASSIVE",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    # A cluster that finds no token writes one into the user's home.
    RAY_AUTH_MODE="token",
    RAY_AUTH_TOKEN=uuid.uuid4().hex,
)
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a test process for each core already
    os.environ["OMP_NUM_THREADS"] = "1"
    # A search joins the cluster that `ray start` began on its machine: not another process's.
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets: a short path
    atexit.register(shutil.rmtree, os.environ["RAY_TMPDIR"], ignore_errors=True)
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "RAY_ADDRESS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def perft_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where perft keeps searches and runs by default, new for every test session."""
    home = tmp_path_factory.mktemp("perft-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFT_HOME", str(home))
        yield home


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests say how wide a terminal is; a notebook sets COLUMNS for all that follow it."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Starts a program as `Job` does, in a home of the test's own; leaves nothing running."""
    yield from starter(tmp_path / "home")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A search of SIZE in one group of one worker, ended, with nobody in its way."""
    for start in starter(tmp_path_factory.mktemp("reference")):
        slots = ("--groups", "1", "--slots", str(FIRST_ROUND))
        job = start(*SEARCH, *SPACE, *SIZE, *slots, "--name", REFERENCE)
        assert job.end() == 0, job.errors
        yield job


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fails a selected test whose hardware or program is not here."""
    if item.get_closest_marker("gpu"):
        import torch  # only a GPU run pays for it

        if not torch.cuda.is_available():
            pytest.fail("no CUDA device: run this on a machine that has one")
    if item.get_closest_marker("browser"):
        missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
        if missing:
            pytest.fail(f"this test needs {' and '.join(missing)}; install the Debian packages")
