"""What answers: a Ray cluster, MLflow's store, the model hub, and the ports that are taken."""

import os
import socket
from collections.abc import Callable, Mapping

import psutil
import requests

from perft.doctor.finding import Finding, missing, ok, warning
from perft.doctor.machine import is_writable
from perft.errors import SearchError, StorageError
from perft.home import default_tracking_uri, sqlite_path
from perft.tracking.mlflow.place import require_usable

_SECONDS = 5.0
_GCS, _RAYLET = "gcs_server", "raylet"

PORTS: Mapping[int, str] = {
    5000: "`mlflow ui` (--port names another)",
    6379: "`ray start --head` (--port names another)",
    8000: "`perft serve` (--port names another)",
    8265: "Ray's dashboard (--dashboard-port names another)",
}
"""By port, who wants it; a search's own Ray takes free ones."""


def ray(processes: Callable[[], list[str]] | None = None) -> list[Finding]:
    """Which Ray a search would use, and how many others run on this machine."""
    from perft.searching.cluster import find_cluster  # noqa: PLC0415 - imports Ray, a second

    names = (processes or _process_names)()
    heads, nodes = names.count(_GCS), names.count(_RAYLET)
    running = f"; {nodes} Ray nodes run here, {heads} of them heads" if nodes else ""
    try:
        cluster = find_cluster()
    except SearchError as error:
        why, _, advice = str(error).rpartition("; ")
        return [missing("Ray", f"{why or advice}{running}", advice)]
    return [ok("Ray", f"a search begins by {cluster.why}{running}")]


def mlflow(
    uri: str | None = None, require: Callable[[str], None] = require_usable
) -> list[Finding]:
    """Whether runs can be recorded where a search would record them."""
    place = default_tracking_uri() if uri is None else uri
    file = sqlite_path(place)
    if file is not None and not file.exists() and is_writable(file.parent):
        return [ok("MLflow", f"{place}, made by the first search")]
    try:
        require(place)
    except StorageError as error:
        why, _, advice = str(error).rpartition("; ")
        return [missing("MLflow", why or advice, f"{advice}; or --tracker folder, without MLflow")]
    return [ok("MLflow", place)]


def hub(
    environment: Mapping[str, str] = os.environ,
    ask: Callable[..., requests.Response] = requests.head,
) -> list[Finding]:
    """Whether bases and data can be fetched from the Hugging Face hub."""
    endpoint = environment.get("HF_ENDPOINT") or "https://huggingface.co"
    token = "a token is set" if environment.get("HF_TOKEN") else "no HF_TOKEN"
    if environment.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true"):
        advice = "bases come from its cache or from a directory; unset HF_HUB_OFFLINE to fetch"
        return [warning("model hub", "offline, as HF_HUB_OFFLINE says", advice)]
    try:
        ask(endpoint, timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        why = type(error).__name__
        advice = "the built-in base needs none; give other bases as directories, with --base-model"
        return [warning("model hub", f"{endpoint} does not answer ({why}), {token}", advice)]
    return [ok("model hub", f"{endpoint} answers, {token}")]


def ports(wanted: Mapping[int, str] = PORTS) -> list[Finding]:
    """Which ports of the programs beside a search are taken on this machine."""
    taken = [port for port in wanted if _is_taken(port)]
    if not taken:
        return [ok("ports", f"{', '.join(map(str, wanted))} are free")]
    users = "; ".join(f"{port} is wanted by {wanted[port]}" for port in taken)
    return [warning("ports", f"{', '.join(map(str, taken))} in use", users)]


def _is_taken(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _process_names() -> list[str]:
    return [each.info["name"] or "" for each in psutil.process_iter(["name"])]
