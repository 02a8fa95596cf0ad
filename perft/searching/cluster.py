"""Which Ray a search runs on: the cluster that the user names, or one of its own.

A cluster is named by `RAY_ADDRESS` (`ray job submit` sets it) or by `ray start` on this machine.
A search joins no other Ray: one that merely runs here may be another search's, and end with it.
A process that is connected to a Ray when it starts a search uses that Ray, and keeps it.
"""

import gc
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import grpc
import ray
from ray.exceptions import AuthenticationError

from perft.cli import THREADS
from perft.compat.ray import (
    QUIET_VARIABLE,
    address_file,
    canonical_address,
    check_alive,
    is_token_auth_enabled,
    maybe_enable_token_auth_if_token_available,
    never_connect_unasked,
)
from perft.compat.ray_train import (
    HEALTH_SECONDS_VARIABLE,
    PREEMPTION_VARIABLE,
    START_SECONDS_VARIABLE,
)
from perft.compat.ray_tune import OUTPUT_VARIABLE
from perft.errors import SearchError
from perft.process import handlers_kept, no_interrupt_lost
from perft.searching.own_ray import start_own_ray

WORKER_ENVIRONMENT = {
    **THREADS,
    # glibc keeps freed memory for the next step, which saves 7% of a step on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    # Seconds after which Ray Train sees that a group has ended, or has lost a worker.
    HEALTH_SECONDS_VARIABLE: "0.5",
    # Seconds for which a group waits for resources before Ray Train renews its request.
    START_SECONDS_VARIABLE: "86400",
}
"""Environment of the processes on the cluster."""

OWN_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    # Nobody warns of the end of this machine; the watcher is a process that takes two CPU seconds.
    PREEMPTION_VARIABLE: "0",
}
"""The same for a Ray of the search's own."""

VARIABLE = "RAY_ADDRESS"
ANSWER_SECONDS = 5.0
"""Time for a cluster's head to answer."""

_WHERE_FROM = (
    "Ray reads the token from ~/.ray/auth_token, or from what RAY_AUTH_TOKEN_PATH or "
    "RAY_AUTH_TOKEN name"
)

Health = Literal["alive", "asks for a token", "away"]


@dataclass(frozen=True)
class Cluster:
    """The Ray that a search is going to use.

    Attributes:
        address: of the cluster to join, as `HOST:PORT`; None if there is none to join.
        why: tells the user which one it is.
        is_up: whether this process is already connected to it; the search then does not end it.
            If false and `address` is None, the search starts a Ray of its own.
    """

    address: str | None
    why: str
    is_up: bool = False

    @property
    def is_own(self) -> bool:
        """Whether the search starts it."""
        return self.address is None and not self.is_up


def find_cluster() -> Cluster:
    """The Ray of this process; else the cluster that the user names; else one to be started.

    Raises:
        SearchError: if the cluster that `RAY_ADDRESS` names does not answer, requires a token, or
            is no valid address.
    """
    if ray.is_initialized():
        return Cluster(None, "using the Ray that this process is connected to", is_up=True)
    named = os.environ.get(VARIABLE, "")
    if named not in ("", "auto", "local"):
        _require(named, health(_canonical(named)))
        return Cluster(named, f"joining the Ray cluster at {named}, which {VARIABLE} names")
    started = None if named == "local" else _started_here()
    found = "away" if started is None else health(started)
    if started and found == "asks for a token" and not is_token_auth_enabled():
        # As `ray.init` does for a cluster of this machine only.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        found = health(started)
    if started and found != "away":
        _require(started, found)
        return Cluster(started, f"joining the Ray cluster at {started}, which `ray start` began")
    if named == "auto":
        raise SearchError(
            f"{VARIABLE} is auto, and `ray start` has begun no cluster that runs on this machine; "
            "start one, or unset it: the search then starts a Ray of its own"
        )
    gone = f" (the cluster that `ray start` began at {started} has ended)" if started else ""
    return Cluster(None, f"starting a Ray of the search's own on this machine{gone}")


def start_ray(cluster: Cluster, tell: Callable[[str], None]) -> None:
    """Joins the cluster, or starts a Ray of the search's own; leaves a Ray that is up as it is.

    `perft.process.unchanged` and `perft.compat.ray.library_unchanged` restore what this changes
    in the process.

    Args:
        cluster: from `find_cluster`.
        tell: shows the user a line.

    Raises:
        SearchError: if Ray does not start, or the cluster refuses the connection.
    """
    os.environ.setdefault(OUTPUT_VARIABLE, "0")
    # Tune gets a trial's error; Ray would print it again when its last reference is dropped.
    os.environ.setdefault(QUIET_VARIABLE, "1")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C stops the whole search
    # `tune_trials` names the loggers: the one for TensorBoard would import torch into the driver.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    never_connect_unasked()  # a late thread must not start another Ray after the search
    if cluster.is_up:
        os.environ.update(WORKER_ENVIRONMENT)  # Ray Train passes its environment to its processes
        return
    # Ray installs a SIGTERM handler, and forks while it starts.
    with no_interrupt_lost(), handlers_kept():
        if cluster.address is None:
            start_own_ray(OWN_ENVIRONMENT, tell)
        else:
            _join(cluster.address)


def end_ray(cluster: Cluster) -> None:
    """Ends this process's connection, and with it a Ray of the search's own.

    A Ray that was up before the search stays. Ending it twice is harmless.
    """
    if cluster.is_up:
        return
    # A collection in another thread could drop a reference to one of Ray's objects: while Ray shuts
    # down, that ends the process, from C++.
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if is_collecting:
            gc.enable()


def _join(address: str) -> None:
    try:
        ray.init(
            address,
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # any type: a cluster of another version raises RuntimeError
        raise SearchError(
            f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}"
        ) from error


def health(address: str) -> Health:
    """Whether the head of a cluster at `HOST:PORT` answers within `ANSWER_SECONDS`.

    `ray.init` takes minutes to fail, with C++ messages.
    """
    try:
        check_alive(address, ANSWER_SECONDS)
    except AuthenticationError:  # the cluster requires a token, and this process has none
        return "asks for a token"
    except grpc.RpcError as error:
        refused = error.code() == grpc.StatusCode.UNAUTHENTICATED
        return "asks for a token" if refused else "away"
    return "alive"


def _require(address: str, found: Health) -> None:
    assert found in get_args(Health)
    if found == "away":
        raise SearchError(
            f"no Ray cluster answers at {address}, which {VARIABLE} names; start it, or unset "
            f"{VARIABLE}: the search then starts a Ray of its own"
        )
    if found == "asks for a token":
        wanted = (
            "does not take this token"
            if is_token_auth_enabled()
            else "asks for a token: set RAY_AUTH_MODE=token"
        )
        raise SearchError(f"the Ray cluster at {address} {wanted}; {_WHERE_FROM}")


def _canonical(address: str) -> str:
    """The user's address as Ray's `HOST:PORT`."""
    if "://" in address:
        raise SearchError(
            f"{VARIABLE} is {address!r}, wanted HOST:PORT of the cluster's head; to send a search "
            "to a cluster by its http:// address, put that into RAY_API_SERVER_ADDRESS and use "
            "`ray job submit`"
        )
    try:
        return canonical_address(address)
    except ValueError as error:
        raise SearchError(f"{VARIABLE} is {address!r}, wanted HOST:PORT: {error}") from error


def _started_here() -> str | None:
    """Address of the cluster that the user's last `ray start` on this machine started or joined.

    That cluster may have ended. A file of another user is ignored: on a shared machine anybody may
    write it.
    """
    file = address_file()
    try:
        if file.stat().st_uid not in (0, os.getuid()):
            return None
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None
