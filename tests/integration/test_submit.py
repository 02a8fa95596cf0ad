"""`ray start --head` in the clone, then a search submitted with no option but its own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import Book, told_by_mlflow, told_by_search
from family import Family
from searches import ON_CPUS, REPOSITORY, SIZE

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]

BIN = Path(sys.executable).parent


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
        kept = ("jobs", "perft", "search_spaces", "pyproject.toml")
        for name in kept:
            source = REPOSITORY / name
            if source.is_dir():
                hidden = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, self.folder / name, ignore=hidden)
            else:
                shutil.copy(source, self.folder / name)
        self._short = short
        self._dashboard = free_port()
        self.family = Family(self.home)

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
                "PERFT_HOME": str(self.home),
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self._dashboard}",
                "COLUMNS": "200",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def start_head(self) -> None:
        # Ports and folder of its own: other clusters may be on this machine.
        done = self.run(
            "ray", "start", "--head", "--port", str(free_port()), "--temp-dir", str(self._short),
            "--dashboard-port", str(self._dashboard), "--disable-usage-stats",
            "--ray-client-server-port", str(free_port()),
            "--dashboard-agent-listen-port", str(free_port()),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

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
            clone.start_head()
            yield clone
        finally:
            clone.family.end()


def test_the_line_of_the_readme_works(clone: Clone):
    line = "ray job submit -- python jobs/search.py --space arithmetic"
    done = clone.submit(line, *SIZE, "--name", "sent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Pareto front" in done.stdout
    # The records are where the user's own shell looks for them, not in the job's passing folder.
    told = told_by_search(clone.home, "sent")
    assert len(told) == 6
    assert told_by_mlflow(clone.home, "sent") == told
    assert Book(clone.home, "sent").parent.info.status == "FINISHED"
    assert "python jobs/pareto.py --name sent" in done.stdout
    shown = clone.run("python", "jobs/pareto.py", "--name", "sent")
    assert shown.returncode == 0
    assert "6 trials ended" in shown.stdout


def test_a_search_that_cannot_start_fails_its_job(clone: Clone):
    done = clone.submit("ray job submit -- python jobs/search.py --space arithmetik")
    assert done.returncode != 0
    assert "unknown search space 'arithmetik'; did you mean 'arithmetic'?" in done.stdout
