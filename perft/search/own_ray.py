"""A Ray of a search's own: seen by nobody else, and leaving nothing behind in anyone's home.

It listens on loopback only, and asks for a token that lies under `PERFT_HOME`. Ray's own place for
the token, `~/.ray/auth_token`, would have every later `ray start` of the user ask for it, too.
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
    with_dashboard_environment,
)
from perft.errors import SearchError, StorageError
from perft.home import home

LOOPBACK = "127.0.0.1"

STARTS = 3
"""How often Ray is started before the search gives up."""

LONGEST_FOLDER = 107 - len("/pymp-12345678/listener-12345678")
"""Length of a folder's path in which there may be the socket of a process of Python's."""

THIN_TRIALS_AT_ONCE = 8
"""Processes that a local Ray may start at the same time."""


def start_own_ray(environment: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Starts Ray on this machine for this process alone; `ray.shutdown` ends it.

    Args:
        environment: of Ray's processes, which inherit it from this one: an environment of a job's
            own takes them a second.
        tell: shows the user a line.

    Raises:
        SearchError: if Ray does not start.
        StorageError: if `PERFT_HOME` cannot be written.
    """
    os.environ.update(environment)
    # By default in the temporary directory; what is compiled once serves later searches.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "inductor"))
    # Thin trials need no core, so that many may start at once; by default Ray warns of it.
    os.environ.setdefault(STARTUPS_VARIABLE, str(THIN_TRIALS_AT_ONCE))
    _share_source_tree()
    listen_on_loopback(os.environ)
    _keep_token_at_home()
    _use_batch_scheduling()
    for left in reversed(range(STARTS)):
        before = set(psutil.Process().children())
        try:
            with with_dashboard_environment(_in_session), _address_known():
                ray.init(
                    "local",
                    # Ray Train frees what a dead controller held by asking the dashboard; its usual
                    # port is left to the user's own clusters.
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
                raise KeyboardInterrupt from error  # Ray takes the signal while it starts
            # Ray raises a bare one when its processes take longer than it waits for them, 15 and
            # 30 seconds that cannot be set and that a busy machine may need.
            if left and type(error) is Exception:
                tell("Ray was not up in time; it is started once more")
                continue
            reason = " ".join(str(error).split()) or type(error).__name__
            logs = temporary_folder() / "session_latest" / "logs"
            raise SearchError(
                f"Ray did not start on this machine: {reason}; its logs are in {logs}"
            ) from error


@contextlib.contextmanager
def _address_known() -> Iterator[None]:
    """Inside, processes that are started know the address of the Ray that is started.

    Those of Ray Train that free what a dead controller held look for it, and find none as soon as
    another Ray runs on this machine.
    """
    port = _free_port()
    known = {PORT_VARIABLE: str(port), "RAY_ADDRESS": f"{LOOPBACK}:{port}"}
    before = {name: os.environ.get(name) for name in known}
    os.environ.update(known)
    try:
        yield
    finally:  # the next search of this process is not to join it
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _in_session(command: list[str]) -> dict[str, str]:
    """Variables by which a dashboard has its temporary files in the session's folder.

    It keeps a socket in a folder of its own, `pymp-...`, and is ended before it can remove it. The
    other processes keep the user's folder: what they compile there serves later searches.
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
    """Ends what a start that failed has left, which Ray has forgotten."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def _share_source_tree() -> None:
    """Has the processes that this one starts find perft where it is not installed."""
    try:
        importlib.metadata.distribution("perft")
    except importlib.metadata.PackageNotFoundError:
        known = os.environ.get("PYTHONPATH", "")
        tree = str(Path(perft.__file__).resolve().parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (known, tree)))


def _keep_token_at_home() -> None:
    # A token or mode of the user's is for a cluster of theirs.
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        os.environ.pop(name, None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_file())
    forget_token()


def _token_file() -> Path:
    """The file of the token, made once for all searches of a home; only its user reads it."""
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
    """Has this process and those that it starts wait for each other's turn to end, on Linux.

    Each of Ray's processes wakes a hundred times a second, and every time takes a core from one
    that trains, for next to nothing: a twentieth of a search on two cores.
    """
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
