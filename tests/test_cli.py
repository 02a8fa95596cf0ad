"""A function becomes a program: its options, its last words, its exit status."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

import perft
from perft.cli import explicit_options, run
from perft.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]


def called(command, *args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run(command, args)
    output, errors = capsys.readouterr()
    return int(ended.value.code or 0), output, errors


def command(
    context: typer.Context,
    *,
    size: Annotated[int, typer.Option(min=1)] = 4,
    rate: float = 0.5,
    name: str | None = None,
    loud: bool = False,
) -> None:
    """Prints what it was given."""
    if name == "bad":
        raise ConfigError("bad is no name")
    print(sorted(explicit_options(context).items()))


def test_options_at_their_defaults_count_as_given(capsys):
    for args, wanted in (
        ((), []),
        (("--size", "4", "--loud"), [("loud", True), ("size", 4)]),
        (("--no-loud",), [("loud", False)]),
    ):
        assert called(command, *args, capsys=capsys) == (0, f"{wanted}\n", "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--size", "0"), "'--size': wanted at least 1, found 0"),
        (("--size=x",), "'--size': wanted a whole number, found x"),
        (("--size",), "'--size' requires an argument"),
        (("--seize", "1"), "No such option: --seize"),
        (("extra",), "extra"),
        (("--rate", "nan"), "'--rate': wanted a finite number, found nan"),
        (("--rate", "-inf"), "'--rate': wanted a finite number, found -inf"),
        (("--name", ""), "'--name': is empty; give a value"),
        (("--name= ",), "'--name': is empty"),
        (("--name", "a\0b"), "'--name': 'a\\x00b' is no plain text"),
        (("--name", "a\nb"), "is no plain text"),
        (("--name", "\udcff"), "is no plain text"),
        (("--name", "a" * 5000), "'--name': has 5,000 characters, at most 4,096"),
        (("--loud=1",), "--loud"),
        (("--name", "bad"), "bad is no name"),
    ],
)
def test_a_mistake_is_one_line(args: tuple[str, ...], words: str, capsys):
    status, output, errors = called(command, *args, capsys=capsys)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ")
    assert words in errors


def start(*args: str, **more) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "perft", *args],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def test_a_reader_that_has_gone_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with start("--help", stdout=writing) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_full_disk_behind_the_output_is_one_line():
    with Path("/dev/full").open("w") as full, start("pareto", "--help", stdout=full) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 2
    assert errors.startswith("error: OSError: [Errno 28] No space left on device")
    assert errors.count("\n") == 1


def test_perft_lists_its_commands():
    def say(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "perft", *args],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for heavy in ("torch", "ray", "optuna", "mlflow", "pandas", "pyarrow"):
            assert f"| {heavy}\n" not in done.stderr.replace("   ", "")
        return done.stdout

    text = say("--help")
    for path in (REPOSITORY / "jobs").glob("*.py"):
        assert f"  {path.stem} " in text
    listed = text.partition("Commands:\n")[2].partition("\n\n")[0]
    assert listed.count("\n") + 1 == len(list((REPOSITORY / "jobs").glob("*.py")))
    assert say("--version") == f"perft {perft.__version__}\n"


def test_an_unknown_command_names_the_nearest():
    with start("serach", stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 2
    assert "unknown command 'serach'; did you mean 'search'" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_stopped_says_so_in_one_line(number: signal.Signals):
    program = (
        "import time\nfrom perft.cli import run\n"
        "def main() -> None:\n    print('here', flush=True)\n    time.sleep(600)\nrun(main, [])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        assert process.stderr.read() == "interrupted\n"
    assert process.returncode == 130


def test_no_command_imports_torch_before_its_threads_are_set():
    code = (
        "import sys, importlib\nfrom perft.__main__ import commands\n"
        "for name in commands(): importlib.import_module(f'perft.commands.{name}')\n"
        "assert 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_a_python_without_the_packages_says_which_has_them() -> None:
    program = str(REPOSITORY / "jobs" / "pareto.py")
    done = subprocess.run(
        [sys.executable, "-S", program, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} lacks the packages of perft")
    assert done.stderr.count("\n") == 1
