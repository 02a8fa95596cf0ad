"""What perft uses of Ray Core beyond its documented interface.

A search starts a Ray that nobody else sees, joins a cluster without minutes of waiting, and asks
machines what they have. What it uses of Ray Train and Ray Tune is in modules of their own, since
these take seconds to import.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import ray

from perft.compat.library import Library, names_in

RAY = Library("ray", tested="2.60.0")

_OWN = "to start a Ray that nobody else sees"
_JOINING = "to join a cluster"
_MACHINES = "to ask what a cluster's machines have"
_WATCHING = "to go on when a Ray has died"

with RAY.needs(_OWN):
    from ray._common.utils import get_default_ray_temp_dir
    from ray._private import auto_init_hook, ray_constants, services
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    PORT_VARIABLE = ray_constants.GCS_PORT_ENVIRONMENT_VARIABLE
    """Environment: the port that a Ray which is started listens on."""
    _CLUSTERS_VARIABLE = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    _clusters = ray_constants.ENABLE_RAY_CLUSTER
    _DASHBOARD = ray_constants.PROCESS_TYPE_DASHBOARD
    _start_process = services.start_ray_process
    _auto_connect = auto_init_hook.enable_auto_connect
    _reset_token = AuthenticationTokenLoader.reset_cache
with RAY.needs(_JOINING):
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )
    from ray._private.authentication.authentication_utils import is_token_auth_enabled
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.utils import get_ray_address_file
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    _canonicalize = services.canonicalize_bootstrap_address
with RAY.needs(_MACHINES):
    from ray._private.state import state
    from ray._private.thirdparty import pynvml

    _most_resources = state.get_max_resources_from_cluster_config
    _start_monitor = services.start_monitor
with RAY.needs(_WATCHING):
    VITAL = (
        ray_constants.PROCESS_TYPE_GCS_SERVER,
        ray_constants.PROCESS_TYPE_RAYLET,
        ray_constants.AGENT_PROCESS_TYPE_RUNTIME_ENV_AGENT[:15],  # Linux shows so much of a name
        ray_constants.AGENT_PROCESS_TYPE_DASHBOARD_AGENT[:15],
    )
    """How the names of the processes begin without each of which Ray ends."""

_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CONFIGURATION, _ADDRESS = "--autoscaling-config=", "--gcs-address="
QUIET_VARIABLE = "RAY_IGNORE_UNHANDLED_ERRORS"
"""Environment: what a task ends with is not printed once more where a reference to it goes."""
STARTUPS_VARIABLE = "RAY_worker_maximum_startup_concurrency"
"""Environment: processes that may start at the same time; read by the raylet, in C++."""

RAY.require(
    {_CONFIGURATION, _ADDRESS} <= names_in(_start_monitor),
    f"an autoscaler that is started with {_CONFIGURATION} and {_ADDRESS}",
    _MACHINES,
)
RAY.require(_ALIVE in names_in(NodeInfoGcsServiceStub.__init__), f"the call {_ALIVE}", _JOINING)
RAY.require(
    QUIET_VARIABLE in names_in(ray._private.worker.Worker.raise_errors),
    f"the variable {QUIET_VARIABLE}",
    "to print nothing twice",
)

__all__ = [
    "PORT_VARIABLE",
    "QUIET_VARIABLE",
    "RAY",
    "STARTUPS_VARIABLE",
    "VITAL",
    "address_file",
    "autoscaler_configurations",
    "canonical_address",
    "check_alive",
    "forget_token",
    "is_token_auth_enabled",
    "library_unchanged",
    "listen_on_loopback",
    "maybe_enable_token_auth_if_token_available",
    "most_resources",
    "never_connect_unasked",
    "pynvml",
    "temporary_folder",
    "with_dashboard_environment",
]


def temporary_folder() -> Path:
    """Where Ray keeps the folders of its sessions on this machine."""
    return Path(get_default_ray_temp_dir())


def listen_on_loopback(environment: MutableMapping[str, str]) -> None:
    """Has a Ray that is started take 127.0.0.1 for its address, as on macOS and Windows."""
    environment[_CLUSTERS_VARIABLE] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False  # what this process read of it when Ray was imported


def never_connect_unasked() -> None:
    """Has no call of Ray's start or join a Ray by itself."""
    auto_init_hook.enable_auto_connect = False


@contextmanager
def library_unchanged() -> Iterator[None]:
    """Inside, what Ray's library holds in this process may be set; at the end it is as it was."""
    connects, joins = auto_init_hook.enable_auto_connect, ray_constants.ENABLE_RAY_CLUSTER
    try:
        yield
    finally:
        auto_init_hook.enable_auto_connect = connects
        ray_constants.ENABLE_RAY_CLUSTER = joins
        forget_token()


def forget_token() -> None:
    """Has this process read its token anew."""
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def with_dashboard_environment(
    made_of: Callable[[list[str]], dict[str, str]],
) -> Iterator[None]:
    """Inside, a dashboard that is started gets more variables.

    Args:
        made_of: gives them for the command that starts it; nothing to change none.
    """
    start = services.start_ray_process

    def start_with(command: list[str], process_type: str, **more: Any) -> Any:
        if process_type == _DASHBOARD and (found := made_of(command)):
            more["env_updates"] = found
        return start(command, process_type, **more)

    services.start_ray_process = start_with
    try:
        yield
    finally:
        services.start_ray_process = start


def canonical_address(address: str) -> str:
    """`HOST:PORT` as Ray dials it.

    Raises:
        ValueError: if it is none.
    """
    return str(_canonicalize(address))


def address_file() -> Path:
    """Where `ray start` writes the address of the cluster that it began."""
    return Path(get_ray_address_file(None))


def check_alive(address: str, seconds: float) -> None:
    """Asks the head of a cluster at `HOST:PORT` whether it lives.

    Raises:
        ray.exceptions.AuthenticationError: if tokens are asked for here, and there is none.
        grpc.RpcError: if it does not answer in time, or does not take the token.
    """
    channel: grpc.Channel
    with init_grpc_channel(address) as channel:
        channel.unary_unary(_ALIVE)(b"", timeout=seconds)


def most_resources() -> dict[str, int]:
    """What a cluster's autoscaler can bring up, where it tells the cluster."""
    return _most_resources() or {}


def autoscaler_configurations(address: str) -> list[Path]:
    """Files of the autoscalers of the cluster at this address that run on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or ()
        if f"{_ADDRESS}{address}" in command:
            files = (part.removeprefix(_CONFIGURATION) for part in command if _is_file(part))
            found += [Path(file).expanduser() for file in files]
    return found


def _is_file(option: str) -> bool:
    return option.startswith(_CONFIGURATION)
