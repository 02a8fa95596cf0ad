"""The undocumented interfaces of Ray Core that perft uses.

A search starts a private Ray, joins a cluster without waiting minutes for a failure, and asks for
machines' resources. Ray Train and Ray Tune have modules of their own, since they take seconds to
import.
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

_OWN = "to start a private Ray"
_JOINING = "to join a cluster"
_MACHINES = "to ask what a cluster's machines have"
_WATCHING = "to resume when a Ray has died"

with RAY.needs(_OWN):
    from ray._common.utils import get_default_ray_temp_dir
    from ray._private import auto_init_hook, ray_constants, services
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    PORT_VARIABLE = ray_constants.GCS_PORT_ENVIRONMENT_VARIABLE
    """Environment: the port on which a new Ray listens."""
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
        ray_constants.AGENT_PROCESS_TYPE_RUNTIME_ENV_AGENT[:15],  # Linux cuts names so
        ray_constants.AGENT_PROCESS_TYPE_DASHBOARD_AGENT[:15],
    )
    """Prefixes of the names of processes without which Ray ends."""

_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CONFIGURATION, _ADDRESS = "--autoscaling-config=", "--gcs-address="
_MODULES, _STATES = "--modules-to-load=", "StateHead"
QUIET_VARIABLE = "RAY_IGNORE_UNHANDLED_ERRORS"
"""Environment: do not print a task's error again when its last reference is dropped."""
STARTUPS_VARIABLE = "RAY_worker_maximum_startup_concurrency"
"""Environment: number of processes that may start at once; read by the raylet, in C++."""

RAY.require(
    {_CONFIGURATION, _ADDRESS} <= names_in(_start_monitor),
    f"an autoscaler that is started with {_CONFIGURATION} and {_ADDRESS}",
    _MACHINES,
)
RAY.require(
    any(name.startswith(_MODULES) for name in names_in(services.start_api_server)),
    f"a dashboard that takes {_MODULES}",
    _OWN,
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
    "with_small_dashboard",
]


def temporary_folder() -> Path:
    """The folder of Ray's sessions on this machine."""
    return Path(get_default_ray_temp_dir())


def listen_on_loopback(environment: MutableMapping[str, str]) -> None:
    """Makes a new Ray use 127.0.0.1 as its address, as on macOS and Windows."""
    environment[_CLUSTERS_VARIABLE] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False  # this process read it when it imported Ray


def never_connect_unasked() -> None:
    """Keeps Ray's calls from starting or joining a Ray by themselves."""
    auto_init_hook.enable_auto_connect = False


@contextmanager
def library_unchanged() -> Iterator[None]:
    """Inside, Ray's state in this process may change; restores it at the end."""
    connects, joins = auto_init_hook.enable_auto_connect, ray_constants.ENABLE_RAY_CLUSTER
    try:
        yield
    finally:
        auto_init_hook.enable_auto_connect = connects
        ray_constants.ENABLE_RAY_CLUSTER = joins
        forget_token()


def forget_token() -> None:
    """Makes this process read its token again."""
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def with_small_dashboard(made_of: Callable[[list[str]], dict[str, str]]) -> Iterator[None]:
    """Inside, a new dashboard only answers for the states of actors.

    Ray waits for all modules of a dashboard, which are a process each and take seconds to start.

    Args:
        made_of: returns additional variables for the command that starts it; may be empty.
    """
    start = services.start_ray_process

    def start_with(command: list[str], process_type: str, **more: Any) -> Any:
        if process_type == _DASHBOARD:
            command = [*command, f"{_MODULES}{_STATES}"]
            if found := made_of(command):
                more["env_updates"] = found
        return start(command, process_type, **more)

    services.start_ray_process = start_with
    try:
        yield
    finally:
        services.start_ray_process = start


def canonical_address(address: str) -> str:
    """Normalises an address to Ray's `HOST:PORT`.

    Raises:
        ValueError: if it is no address.
    """
    return str(_canonicalize(address))


def address_file() -> Path:
    """The file in which `ray start` writes the address of its cluster."""
    return Path(get_ray_address_file(None))


def check_alive(address: str, seconds: float) -> None:
    """Checks that the head of a cluster at `HOST:PORT` is alive.

    Raises:
        ray.exceptions.AuthenticationError: if this process needs a token and has none.
        grpc.RpcError: if it does not answer in time, or refuses the token.
    """
    channel: grpc.Channel
    with init_grpc_channel(address) as channel:
        channel.unary_unary(_ALIVE)(b"", timeout=seconds)


def most_resources() -> dict[str, int]:
    """The resources that a cluster's autoscaler can bring up, if it has told the cluster."""
    return _most_resources() or {}


def autoscaler_configurations(address: str) -> list[Path]:
    """Configuration files of the cluster's autoscalers that run on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or ()
        if f"{_ADDRESS}{address}" in command:
            files = (part.removeprefix(_CONFIGURATION) for part in command if _is_file(part))
            found += [Path(file).expanduser() for file in files]
    return found


def _is_file(option: str) -> bool:
    return option.startswith(_CONFIGURATION)
