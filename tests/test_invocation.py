"""Commands that are printed can be pasted into a shell in any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perft.invocation import arguments, command_line

REPOSITORY = Path(__file__).parents[1]
INSTALLED = Path(sys.executable).with_name("perft")


def told(monkeypatch: pytest.MonkeyPatch, started_as: str | Path, *options: str) -> str:
    monkeypatch.setattr(sys, "argv", [str(started_as)])
    return command_line("pareto", *options)


@pytest.mark.parametrize("is_on_path", [True, False])
def test_a_job_is_followed_by_jobs(is_on_path: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", folder if is_on_path else os.defpath)
    monkeypatch.chdir(REPOSITORY)
    python = "python" if is_on_path else sys.executable
    line = told(monkeypatch, "jobs/search.py", "--name", "my search")
    assert line == f"{python} {REPOSITORY}/jobs/pareto.py --name 'my search'"


def test_it_works_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for started_as in (REPOSITORY / "jobs" / "search.py", INSTALLED):
        line = told(monkeypatch, started_as, "--help")
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        assert "Pareto front" in done.stdout


@pytest.mark.parametrize("has_perft", [True, False])
def test_a_passing_copy_is_not_named(
    has_perft: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1" / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "pareto.py").touch()
    bin = tmp_path / "bin"
    bin.mkdir()
    if has_perft:
        (bin / "perft").touch()
    monkeypatch.setattr(sys, "executable", str(bin / "python"))
    wanted = f"{bin}/perft pareto" if has_perft else "python jobs/pareto.py"
    assert told(monkeypatch, jobs / "search.py") == wanted


def test_its_arguments_are_of_a_program_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for started_as in (REPOSITORY / "jobs" / "search.py", INSTALLED):
        monkeypatch.setattr(sys, "argv", [str(started_as)])
        program, *rest = arguments("search", "--help")
        done = subprocess.run([program, *rest], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
