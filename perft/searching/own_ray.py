"""A search's own Ray: private to it, and leaving nothing in the user's home.

It listens on loopback only, and requires a token kept under `PERFT_HOME`. In Ray's own place for
the token, `~/.ray/auth_token`, every later `ray start` of the user would require it, too.
"""

import contextlib
import importlib.metadata
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import ray
from filelock import FileLock

import perft
from perft.compat.ray import (
    PORT_VARIABLE,
    STARTUPS_VARIABLE,
    forget_token,
    listen_on_loopback,
    temporary_folder,
    with_small_dashboard,
)
from perft.errors import SearchError, StorageError
from perft.home import home

LOOPBACK = "127.0.0.1"

STARTS = 3
"""Starts of Ray before the search gives up."""

LONGEST_FOLDER = 107 - len("/pymp-12345678/listener-12345678")
"""Longest path of a folder that can hold a socket of Python's multiprocessing."""

THIN_TRIALS_AT_ONCE = 8
"""Processes that a local Ray may start at the same time."""


def start_own_ray(environment: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Starts Ray on this machine for this process alone; `ray.shutdown` ends it.

    Args:
        environment: of Ray's processes, which inherit it from this one: a runtime environment would
            take a second.
        tell: shows the user a line.

    Raises:
        SearchError: if Ray does not start.
        StorageError: if `PERFT_HOME` cannot be written.
    """
    os.environ.update(environment)
    # By default a temporary directory; here later searches reuse it.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "inductor"))
    # Thin trials need no core, so many may start at once; by default Ray warns about it.
    os.environ.setdefault(STARTUPS_VARIABLE, str(THIN_TRIALS_AT_ONCE))
    _share_source_tree()
    listen_on_loopback(os.environ)
    _keep_token_at_home()
    _use_batch_scheduling()
    for left in reversed(range(STARTS)):
        before = set(psutil.Process().children())
        try:
            with with_small_dashboard(_in_session), _address_known():
                ray.init(
                    "local",
                    # Ray Train asks it for the states of controllers, to free what a dead one held;
                    # its usual port stays free for the user's clusters.
                    include_dashboard=True,
                    dashboard_host=LOOPBACK,
                    dashboard_port=_free_port(),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            return
        except (Exception, SystemExit) as error:
            _end(set(psutil.Process().children()) - before)
            if isinstance(error, SystemExit) and error.code == signal.SIGTERM:
                raise KeyboardInterrupt from error  # Ray handles the signal while it starts
            # Ray raises a bare Exception when its processes take longer than 15 and 30 seconds,
            # fixed limits that a busy machine may exceed.
            if left and type(error) is Exception:
                tell("Ray was not up in time; starting it again")
                continue
            reason = " ".join(str(error).split()) or type(error).__name__
            logs = temporary_folder() / "session_latest" / "logs"
            raise SearchError(
                f"Ray did not start on this machine: {reason}; its logs are in {logs}"
            ) from error


@contextlib.contextmanager
def _address_known() -> Iterator[None]:
    """Inside, child processes get the address of the Ray that is being started.

    Ray Train's processes that free what a dead controller held look for it, and find none if
    another Ray runs on this machine.
    """
    port = _free_port()
    known = {PORT_VARIABLE: str(port), "RAY_ADDRESS": f"{LOOPBACK}:{port}"}
    before = {name: os.environ.get(name) for name in known}
    os.environ.update(known)
    try:
        yield
    finally:  # the next search of this process must not join it
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _in_session(command: list[str]) -> dict[str, str]:
    """Variables that put a dashboard's temporary files into the session's folder.

    The dashboard keeps a socket in a folder `pymp-...`, and is killed before it can remove it. The
    other processes keep the user's temporary folder, whose compiled files later searches reuse.
    """
    option = "--session-dir="
    folders = [part[len(option) :] for part in command if part.startswith(option)]
    fits = folders and len(folders[0]) <= LONGEST_FOLDER
    return {"TMPDIR": folders[0]} if fits else {}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        return int(one.getsockname()[1])


def _end(processes: set[psutil.Process]) -> None:
    """Kills processes that a failed start of Ray has left."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def _share_source_tree() -> None:
    """Lets child processes import perft where it is not installed."""
    try:
        importlib.metadata.distribution("perft")
    except importlib.metadata.PackageNotFoundError:
        known = os.environ.get("PYTHONPATH", "")
        tree = str(Path(perft.__file__).resolve().parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (known, tree)))


def _keep_token_at_home() -> None:
    # The user's own token or mode is for their clusters.
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        os.environ.pop(name, None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_file())
    forget_token()


def _token_file() -> Path:
    """The token's file, made once per `PERFT_HOME`, readable by its user alone."""
    file = home() / "ray" / "auth_token"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                fresh = file.with_suffix(".new")
                fresh.unlink(missing_ok=True)
                fresh.touch(mode=0o600)
                fresh.write_text(secrets.token_hex(32))
                fresh.replace(file)
            file.chmod(0o600)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error}; set PERFT_HOME") from error
    return file


def _use_batch_scheduling() -> None:
    """Uses batch scheduling for this process and its children, on Linux.

    Each of Ray's processes wakes a hundred times a second and preempts one that trains: 5% of a
    search on two cores.
    """
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
