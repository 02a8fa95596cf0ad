"""The command line that calls a command of perft, in the way the running one was called."""

import shlex
import shutil
import sys
from pathlib import Path

_JOB_COPIES = "runtime_resources"
"""Ray's folder of temporary copies of submitted jobs' working directories."""


def command_line(command: str, *options: str) -> str:
    """The line that calls a command in a shell, from any folder.

    Args:
        command: its name, such as "pareto".
        options: options and values, unquoted.
    """
    return shlex.join([*_program(command), *options])


def arguments(command: str, *options: str) -> list[str]:
    """The program, by its path, and the arguments that call a command on this machine.

    Args:
        command: its name, such as "search".
        options: options and values.
    """
    program, *rest = _program(command)
    return [shutil.which(program) or program, *rest, *options]


def _program(command: str) -> list[str]:
    script = Path(sys.argv[0]).resolve()
    job = script.with_name(f"{command}.py")
    is_job = script.parent.name == "jobs" and job.is_file()
    if is_job and _JOB_COPIES not in job.parts:
        return [_python(), str(job)]
    installed = Path(sys.executable).with_name("perft")
    if installed.is_file():
        return ["perft" if _is_on_path(installed) else str(installed), command]
    if is_job:  # the user's shell is in the tree that was submitted
        return ["python", f"jobs/{command}.py"]
    return [sys.executable, "-m", "perft", command]


def _python() -> str:
    """The running interpreter: "python" if PATH finds it under that name, else its path."""
    return "python" if _is_on_path(Path(sys.executable).with_name("python")) else sys.executable


def _is_on_path(program: Path) -> bool:
    found = shutil.which(program.name)
    return found is not None and Path(found) == program
