"""The commands run where perft's dependencies are and perft is not, and from its wheel alone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from calling import REPOSITORY

JOBS = sorted(path.stem for path in (REPOSITORY / "jobs").glob("*.py"))


@dataclass(frozen=True)
class Tree:
    """A copy of the sources, and an environment without perft."""

    folder: Path
    python: Path

    def run(self, *program: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        home = {"PERFT_HOME": str(cwd / "home"), "CUDA_VISIBLE_DEVICES": ""}
        known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python), *program],
            cwd=cwd, env={**known, **home}, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    place = tmp_path_factory.mktemp("tree")
    for name in ("jobs", "perft", "search_spaces"):
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, place / "sources" / name, ignore=hidden)
    dependencies = place / "dependencies"
    dependencies.mkdir()
    for kind in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(kind)).iterdir():
            if "perft" not in path.name and not (dependencies / path.name).exists():
                (dependencies / path.name).symlink_to(path)
    venv.create(place / "venv", symlinks=True)
    scheme = {"base": str(place / "venv"), "platbase": str(place / "venv")}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    # Named in a file and not linked there, so that no .pth file of theirs is read, perft's least.
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return Tree(place / "sources", place / "venv" / "bin" / "python")


def test_perft_is_not_installed_there(tree: Tree, tmp_path: Path) -> None:
    done = tree.run("-c", "import torch, ray; import perft", cwd=tmp_path)
    assert "No module named 'perft'" in done.stderr
    code = "import importlib.metadata as m; m.version('torch'); m.version('perft')"
    assert "PackageNotFoundError" in tree.run("-c", code, cwd=tmp_path).stderr


@pytest.mark.parametrize("job", JOBS)
def test_a_job_starts(job: str, tree: Tree, tmp_path: Path) -> None:
    done = tree.run(str(tree.folder / "jobs" / f"{job}.py"), "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout


def test_the_version_is_that_of_the_sources(tree: Tree, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); import perft\n"
        "from perft.searching.settings import installed_versions\n"
        "print(installed_versions()['perft'] == perft.__version__, perft.__file__)"
    )
    done = tree.run("-c", code, str(tree.folder), cwd=tmp_path)
    assert done.stdout == f"True {tree.folder}/perft/__init__.py\n", done.stderr


@pytest.mark.slow
def test_the_wheel_has_all_that_the_commands_take(tree: Tree, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    hidden = shutil.ignore_patterns("__pycache__")
    for name in ("perft", "search_spaces"):
        shutil.copytree(REPOSITORY / name, sources / name, ignore=hidden)
    (sources / "docs").mkdir()
    for name in ("pyproject.toml", "docs/installing.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, sources / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    build = ("wheel", *offline, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(sources))
    subprocess.run([*pip, *build], check=True)
    shutil.rmtree(sources)
    (wheel,) = map(str, tmp_path.glob("perft-*.whl"))
    subprocess.run([*pip, "--python", str(tree.python), "install", *offline, wheel], check=True)
    perft = tree.python.with_name("perft")

    def run(*args: str) -> str:
        done = tree.run("-I", str(perft), *args, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    try:
        listed = run("--help")
        for job in JOBS:
            assert f"  {job} " in listed
            assert f"Usage: perft {job} [OPTIONS]" in run(job, "--help")
        assert "size_extremes" in run("plan", "--space", "arithmetic", "--json")
        trained = run(
            "train", "--space", "arithmetic", "--variant", "perft-s", "--rank", "2", "--lr", "0.01",
            "--max-steps", "2", "--validation-size", "4",
        )  # fmt: skip
        assert "step 2" in trained
        missing = tree.run(str(perft), "pareto", "--name", "none", cwd=tmp_path)
        assert missing.stderr.startswith("error: there is no search 'none'")
    finally:
        uninstall = ("uninstall", "--yes", "perft")
        subprocess.run([*pip, "--python", str(tree.python), *uninstall], check=True)


@pytest.mark.ray
def test_a_search_and_its_workers_run(tree: Tree, tmp_path: Path) -> None:
    done = tree.run(
        str(tree.folder / "jobs" / "search.py"), "--space", "arithmetic", "--num-trials", "2",
        "--max-steps", "4", "--validation-size", "8", "--groups", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 trials: " in done.stdout
