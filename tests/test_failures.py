"""Every kind of error has its last words and its exit status; only a bug shows a traceback."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow.exceptions import MlflowException
from optuna.exceptions import StorageInternalError
from pyarrow import ArrowInvalid
from ray.exceptions import GetTimeoutError, RayTaskError
from ray.tune import TuneError
from requests import ConnectionError as RequestsConnectionError

from perft.config import adapter_from_flat
from perft.errors import ConfigError, InterruptedSearchError, SearchError
from perft.failures import (
    BUG,
    FIXABLE,
    INTERRUPTED,
    PIPE_CLOSED,
    ExitReport,
    exit_report,
    useful_line,
)
from perft.modules import load_module

SECRET = "http://someone:secret@host/"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def ending(raising: Callable[[], object]) -> ExitReport:
    try:
        raising()
    except BaseException as error:
        return exit_report(error)
    raise AssertionError("nothing was raised")


def test_what_the_user_can_fix_is_one_line_without_secrets(home: Path) -> None:
    found = exit_report(ConfigError("found 3,\n wanted 4"))
    assert found == ExitReport(FIXABLE, "error: found 3, wanted 4")
    assert exit_report(SearchError(f"no {SECRET}")).text == "error: no http://***@host/"
    assert not home.exists()


def test_an_interruption_is_no_failure() -> None:
    assert exit_report(InterruptedSearchError("stopped")) == ExitReport(
        INTERRUPTED, "error: stopped"
    )
    assert exit_report(KeyboardInterrupt()) == ExitReport(INTERRUPTED, "interrupted")


def test_a_reader_that_has_gone_hears_nothing() -> None:
    assert exit_report(BrokenPipeError(errno.EPIPE, "Broken pipe")) == ExitReport(PIPE_CLOSED, "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "free some space there"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission denied: '/x'; see"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "MemoryError; free some memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "free some memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "free some memory"),
        (ModuleNotFoundError("No module named 'psycopg2'"), "'psycopg2'; install it"),
        (MlflowException("no such run\nand more"), "MlflowException: no such run; "),
        (StorageInternalError("locked"), "StorageInternalError: locked; "),
        (ArrowInvalid("not a Parquet file"), "ArrowInvalid: not a Parquet file; "),
        (RequestsConnectionError("refused"), "ConnectionError: refused; "),
        (GetTimeoutError("where it was\nit took too long"), "GetTimeoutError: it took too long; "),
        (TuneError("Traceback\n  somewhere\nValueError: no\n"), "TuneError: ValueError: no; "),
    ],
)  # fmt: skip
def test_what_machine_and_libraries_raise_is_one_line(error: Exception, words: str) -> None:
    found = exit_report(error)
    assert found.status == FIXABLE
    assert found.text.startswith(f"error: {type(error).__name__}")
    assert words in found.text
    assert "\n" not in found.text


def test_the_traceback_of_such_an_error_is_kept_for_its_user_alone(home: Path) -> None:
    error = MlflowException(f"no answer from {SECRET}")
    error.add_note("resume it by: perft search --resume first")

    def raising() -> None:
        raise error

    line = ending(raising).text
    (log,) = (home / "logs").iterdir()
    where = f"in {__file__}, line {raising.__code__.co_firstlineno + 1}"
    assert line == (
        f"error: MlflowException: no answer from http://***@host/, {where}; resume it by: "
        f"perft search --resume first; its traceback is in {log}"
    )
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "Traceback" in log.read_text()
    assert "secret" not in log.read_text()


def test_a_home_that_cannot_be_written_takes_nothing_from_the_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.parent / "file").touch()
    monkeypatch.setenv("PERFT_HOME", str(home.parent / "file"))
    assert exit_report(MemoryError()).text.endswith("ask for less of it")


def test_a_bug_shows_its_traceback(home: Path) -> None:
    found = ending(lambda: adapter_from_flat(7))  # type: ignore[arg-type]
    assert found.status == BUG
    assert found.text.startswith("Traceback")
    assert "TypeError" in found.text
    assert not home.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ny = 1 / 0\n", "ZeroDivisionError: division by zero, in {file}, line 2; "),
        ("def f(:\n", "SyntaxError: "),
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name', in {file}, li"),
        ("from pathlib import Path\nPath('/no/such').read_text()\n", ", in {file}, line 2; "),
        ("import json\njson.loads('{{')\n", ", in {file}, line 2; "),
    ],
)
def test_an_error_of_a_file_of_the_users_names_its_line(
    text: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "space.py"
    file.write_text(text.replace("{{", "{"))
    found = ending(lambda: load_module(file))
    assert found.status == FIXABLE
    assert words.format(file=file) in found.text
    assert str(file) in found.text
    assert "\n" not in found.text


def test_what_a_task_of_ray_raised_is_told_by_its_last_line() -> None:
    cause = ValueError("the reason")
    error = RayTaskError("f", "Traceback (most recent call last):\nValueError: the reason", cause)
    assert useful_line(error) == "ValueError: the reason"
    assert useful_line(error.as_instanceof_cause()) == "ValueError: the reason"
