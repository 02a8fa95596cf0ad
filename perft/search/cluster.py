"""Which Ray a search runs on: the cluster that the user names, or one of its own.

A cluster is named by `RAY_ADDRESS` (`ray job submit` sets it) or by `ray start` on this machine.
Nothing else is joined: a Ray that merely runs here may be another search's own, and ends with it.
A process that is connected to a Ray when it starts a search uses that one, and keeps it.
"""

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
from perft.process import handlers_kept
from perft.search.own_ray import start_own_ray

WORKER_ENVIRONMENT = {
    **THREADS,
    # Memory that one step frees, glibc keeps for the next: 7% of a step on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    # Trials are persisted at every report: there is nothing to do when a machine is about to go.
    PREEMPTION_VARIABLE: "0",
    # Seconds after which Ray Train sees that a group has ended, or has lost a worker.
    HEALTH_SECONDS_VARIABLE: "0.5",
    # Seconds for which a group asks for room before Ray Train asks anew, and an autoscaler forgets.
    START_SECONDS_VARIABLE: "86400",
}
"""Environment of the processes on the cluster."""

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
        address: of the cluster to join, as `HOST:PORT`; None where there is none to join.
        why: says to the user which one it is.
        is_up: whether this process is connected to it already. Whoever did that ends it; otherwise
            a search without a cluster to join starts a Ray of its own.
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
        SearchError: if the cluster that `RAY_ADDRESS` names is away, lets nobody in without a
            token, or cannot be one.
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
        # What `ray.init` does for a cluster of this machine, and for no other.
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
    """Joins the cluster, or starts a Ray of the search's own; a Ray that is up is left as it is.

    `perft.process.unchanged` and `perft.compat.ray.library_unchanged` put back what this changes
    of the process.

    Args:
        cluster: what `find_cluster` gave.
        tell: shows the user a line.

    Raises:
        SearchError: if Ray does not start, or the cluster lets nobody in.
    """
    os.environ.setdefault(OUTPUT_VARIABLE, "0")
    # What a trial ends with, Tune hears; Ray prints it once more where a reference to it goes.
    os.environ.setdefault(QUIET_VARIABLE, "1")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C stops the search, not Tune alone
    never_connect_unasked()  # a thread that is late when a search ends must not start another Ray
    if cluster.is_up:
        os.environ.update(WORKER_ENVIRONMENT)  # Ray Train hands its variables on to its processes
        return
    with handlers_kept():  # Ray takes SIGTERM for itself
        if cluster.address is None:
            start_own_ray(WORKER_ENVIRONMENT, tell)
        else:
            _join(cluster.address)


def end_ray(cluster: Cluster) -> None:
    """Ends this process's connection, and with it a Ray of the search's own.

    A Ray that was up before the search is left as it is. To end it twice is no harm.
    """
    if not cluster.is_up:
        ray.shutdown()


def _join(address: str) -> None:
    try:
        ray.init(
            address,
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # of whatever type: a cluster of another version is a RuntimeError
        raise SearchError(
            f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}"
        ) from error


def health(address: str) -> Health:
    """How the head of a cluster at `HOST:PORT` answers, within `ANSWER_SECONDS`.

    `ray.init` takes minutes to say so, in lines of C++.
    """
    try:
        check_alive(address, ANSWER_SECONDS)
    except AuthenticationError:  # tokens are asked for here, and there is none
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
    """`HOST:PORT` as Ray dials it, of what a user may have written."""
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
    """Address of the cluster that the user's last `ray start` on this machine began or joined.

    The file may be that of a cluster that has ended. One that another user has written says
    nothing: on a shared machine anybody may write it.
    """
    file = address_file()
    try:
        if file.stat().st_uid not in (0, os.getuid()):
            return None
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None
