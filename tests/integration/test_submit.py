"""The commands of the README in their order, on one machine, by a user who has never used Ray."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import Book, told_by_mlflow, told_by_search
from family import Family
from searches import (
    CONTROLLER,
    MEETING_POINT,
    ON_CPUS,
    REPOSITORY,
    SEARCH,
    SPACE,
    THIN_TRIAL,
    TRIALS,
    WORKER,
)
from searches import SIZE as SEARCH_SIZE

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]

BIN = Path(sys.executable).parent
SIZE = ("--num-trials", "3", "--max-steps", "8", "--validation-size", "20", "--groups", "1")
FREE = re.compile(r"^ 0\.0/[\d.]+ CPU$", re.MULTILINE)
"""What `ray status` says of a cluster on which nobody has anything."""

KNEE, TASK = ("--pick", "knee"), ("--task", "arithmetic")


class Clone:
    """A copy of the repository with a cluster of its own, whose user has never used Ray.

    Args:
        place: where the copy goes.
        short: a folder for Ray, whose sockets allow no long paths.
    """

    def __init__(self, place: Path, short: Path) -> None:
        self.folder = place / "clone"
        self.home = place / "home"
        self.home.mkdir()
        self.perft = self.home / ".perft"
        kept = ("jobs", "perft", "search_spaces", "pyproject.toml")
        for name in kept:
            source = REPOSITORY / name
            if source.is_dir():
                hidden = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, self.folder / name, ignore=hidden)
            else:
                shutil.copy(source, self.folder / name)
        self.short = short
        self._dashboard = free_port()
        self.family = Family(self.perft)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as the user, in the clone."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=known
            | {
                **ON_CPUS,
                "HOME": str(self.home),
                "PERFT_HOME": str(self.perft),
                "PATH": f"{BIN}:{os.environ['PATH']}",
                # A folder and ports of its own: other clusters may be on this machine.
                "RAY_TMPDIR": str(self.short),
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self._dashboard}",
                # Three by default, which a busy machine takes to notice.
                "RAY_JOB_STOP_WAIT_TIME_S": "60",
                "COLUMNS": "200",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeeds(self, *command: str) -> str:
        """Runs a command as the user, which ends well; what it wrote."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_head(self) -> None:
        command = (
            "ray", "start", "--head", "--port", str(free_port()), "--disable-usage-stats",
            "--dashboard-port", str(self._dashboard),
            "--ray-client-server-port", str(free_port()),
            "--dashboard-agent-listen-port", str(free_port()),
        )  # fmt: skip
        while (done := self.run(*command)).returncode:
            assert "timed out during startup" in done.stderr, done.stderr
            self.family.end()  # the machine is busy

    def submit(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of `ray job submit`; the cluster takes jobs some seconds after its start."""
        while True:
            done = self.run(*line.split(), *more)
            if "No available agent to submit job" not in done.stderr:
                return done


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as short:
        clone = Clone(tmp_path, Path(short))
        try:
            yield clone
        finally:
            clone.family.end()


def test_the_commands_of_the_readme_work_in_their_order(clone: Clone):
    first = clone.succeeds("python", *SEARCH, *SPACE, *SIZE, "--name", "first")
    assert "starting a Ray of the search's own on this machine" in first
    assert [file.name for file in clone.home.iterdir()] == [".perft"], "something was left at home"
    clone.start_head()
    line = "ray job submit -- python jobs/search.py --space arithmetic"
    done = clone.submit(line, *SIZE, "--name", "sent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "which RAY_ADDRESS names" in done.stdout
    assert "Pareto front" in done.stdout
    # The records are where the user's own shell looks for them, not in the job's passing folder.
    told = told_by_search(clone.perft, "sent")
    assert told == told_by_search(clone.perft, "first")
    assert told_by_mlflow(clone.perft, "sent") == told
    assert Book(clone.perft, "sent").parent.info.status == "FINISHED"
    assert f"{clone.folder.resolve()}/jobs/pareto.py --name sent" in done.stdout
    assert "3 trials ended" in clone.succeeds("python", "jobs/pareto.py", "--name", "sent")
    clone.succeeds("python", "jobs/export.py", "--name", "sent", "--out", "adapter", *KNEE)
    scored = clone.succeeds("python", "jobs/evaluate.py", "--adapter", "adapter", *TASK)
    assert "protocol: " in scored


def test_a_job_that_is_stopped_goes_on_later_and_one_that_cannot_start_fails(clone: Clone):
    clone.start_head()
    submit = "ray job submit --no-wait --submission-id first -- "
    size = (*SEARCH_SIZE, "--name", "stopped")
    done = clone.submit(f"{submit} python jobs/search.py --space arithmetic", *size)
    assert done.returncode == 0, done.stdout + done.stderr
    while not list(clone.perft.glob("searches/stopped/trials/*.safetensors")):
        told = clone.run("ray", "job", "logs", "first").stdout
        assert "error: " not in told, told
        time.sleep(0.5)
    clone.succeeds("ray", "job", "stop", "first")
    log = clone.run("ray", "job", "logs", "first").stdout
    assert "no machine of the cluster has a GPU: training on CPUs" in log
    assert "stopping, and keeping what there is" in log
    assert "resume it by" in log
    assert "Traceback" not in log
    book = Book(clone.perft, "stopped")
    ended = {run.info.status for run in (book.parent, *book.children.values())}
    assert not ended & {"RUNNING", "SCHEDULED"}
    for title in (WORKER, THIN_TRIAL, CONTROLLER, MEETING_POINT):
        while clone.family.titled(title):
            time.sleep(0.1)
    while not FREE.search(clone.succeeds("ray", "status")):
        time.sleep(0.5)  # Ray takes moments to give back what a placement group held
    done = clone.submit("ray job submit -- python jobs/search.py --resume stopped")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(told_by_search(clone.perft, "stopped")) == TRIALS
    done = clone.submit("ray job submit -- python jobs/search.py --space arithmetik")
    assert done.returncode != 0
    assert "unknown search space 'arithmetik'; did you mean 'arithmetic'?" in done.stdout


def test_a_cluster_with_a_token_says_which_variable_it_takes(clone: Clone):
    token = clone.home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0123456789abcdef" * 4)
    clone.start_head()
    (address,) = (file.read_text() for file in clone.short.glob("ray/ray_current_cluster"))
    search = ("python", *SEARCH, *SPACE, *SIZE, "--name", "barred")
    barred = clone.run("env", f"RAY_ADDRESS={address}", *search)
    assert (barred.returncode, barred.stderr.count("\n")) == (2, 1), barred.stderr
    assert "asks for a token: set RAY_AUTH_MODE=token" in barred.stderr
    line = "env RAY_AUTH_MODE=token ray job submit -- python jobs/plan.py --space arithmetic"
    done = clone.submit(line)
    assert done.returncode == 0, done.stdout + done.stderr
