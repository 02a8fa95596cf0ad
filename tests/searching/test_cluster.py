"""Which cluster a search joins, and what a Ray of its own is started with."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import ray
from ray._private import ray_constants, services

from perft.compat import ray as compat
from perft.compat.ray_train import PREEMPTION_VARIABLE
from perft.errors import SearchError
from perft.searching import cluster
from perft.searching.cluster import (
    WORKER_ENVIRONMENT,
    Cluster,
    Health,
    find_cluster,
    health,
    start_ray,
)

OWN = Cluster(None, "")
HERE = "batch" if sys.platform == "linux" else "no policies"
PROGRAM = """
import os
known = hasattr(os, "sched_getscheduler")
print("no policies" if not known else "batch" if os.sched_getscheduler(0) == os.SCHED_BATCH else "")
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment and a folder of Ray's in which nobody has started a cluster."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    os.environ |= {"RAY_TMPDIR": str(tmp_path), "PERFT_HOME": str(tmp_path / "home")}
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        os.environ.pop(name, None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What `ray.init` is called with."""
    calls: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(ray, "init", lambda address, **options: calls.append((address, options)))
    return calls


def ray_start_named(tmp_path: Path, address: str) -> None:
    """What `ray start` writes on its machine, and leaves there when its cluster dies."""
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir(exist_ok=True)
    file.write_text(address)


def answering(monkeypatch: pytest.MonkeyPatch, found: Health) -> None:
    monkeypatch.setattr(cluster, "health", lambda _address: found)


def test_without_a_named_cluster_a_search_starts_its_own() -> None:
    found = find_cluster()
    assert found == Cluster(None, "starting a Ray of the search's own on this machine")
    os.environ["RAY_ADDRESS"] = "local"
    assert find_cluster() == found


def test_what_ray_address_names_is_joined(monkeypatch: pytest.MonkeyPatch, asked: Any) -> None:
    answering(monkeypatch, "alive")
    os.environ["RAY_ADDRESS"] = "10.0.0.1:6379"
    found = find_cluster()
    assert found.why == "joining the Ray cluster at 10.0.0.1:6379, which RAY_ADDRESS names"
    start_ray(found, print)
    ((address, options),) = asked
    assert address == "10.0.0.1:6379"
    assert options["runtime_env"] == {"env_vars": WORKER_ENVIRONMENT}
    assert PREEMPTION_VARIABLE not in WORKER_ENVIRONMENT, "Ray warns by default"
    assert not (Path(os.environ["PERFT_HOME"])).exists()


def test_what_ray_start_names_is_joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, "alive")
    ray_start_named(tmp_path, "10.0.0.1:6379")
    assert find_cluster().address == "10.0.0.1:6379"
    of_another_user = os.stat_result((0, 0, 0, 0, os.getuid() + 1, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _self: of_another_user)
    assert find_cluster().address is None


def test_a_cluster_of_ray_start_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    ray_start_named(tmp_path, "127.0.0.1:1")
    assert find_cluster() == Cluster(
        None,
        "starting a Ray of the search's own on this machine (the cluster that `ray start` began at "
        "127.0.0.1:1 has ended)",
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"no Ray cluster answers at 127\.0\.0\.1:1, which RAY_ADDRESS names"),
        ("http://127.0.0.1:8265", r"RAY_ADDRESS is 'http://127\.0\.0\.1:8265', wanted HOST:PORT"),
        ("nonsense", "RAY_ADDRESS is 'nonsense', wanted HOST:PORT"),
        ("auto", "RAY_ADDRESS is auto, and `ray start` has begun no cluster that runs"),
    ],
)
def test_a_named_cluster_that_is_away_is_not_replaced(address: str, message: str) -> None:
    os.environ["RAY_ADDRESS"] = address
    with pytest.raises(SearchError, match=message):
        find_cluster()


def test_the_variable_for_a_token_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "asks for a token")
    monkeypatch.setattr(cluster, "is_token_auth_enabled", lambda: False)
    os.environ["RAY_ADDRESS"] = "10.0.0.1:6379"
    with pytest.raises(SearchError, match=r"asks for a token: set RAY_AUTH_MODE=token; Ray reads"):
        find_cluster()
    monkeypatch.setattr(cluster, "is_token_auth_enabled", lambda: True)
    with pytest.raises(SearchError, match=r"does not take this token; Ray reads the token from"):
        find_cluster()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (None, "alive"),
        (grpc.StatusCode.UNAUTHENTICATED, "asks for a token"),
        (grpc.StatusCode.UNIMPLEMENTED, "away"),
    ],
)
def test_how_a_head_answers(
    code: grpc.StatusCode | None, found: Health, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health(head(code)) == found


@pytest.fixture
def head() -> Iterator[Any]:
    """Starts a server that answers as a cluster's head would, with a status or none."""
    servers: list[grpc.Server] = []

    def start(code: grpc.StatusCode | None) -> str:
        def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
            if code is not None:
                context.abort(code, "no")
            return b""

        server = grpc.server(ThreadPoolExecutor(1))
        service, method = compat._ALIVE.strip("/").split("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


def in_a_thread(work: Any) -> None:
    """Of its own, since a scheduling policy is a thread's and stays with it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_ray_of_ones_own_keeps_its_token_and_its_ports_to_itself(asked: Any) -> None:
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "the user's"}
    in_a_thread(lambda: start_ray(OWN, print))
    ((address, options),) = asked
    assert (address, options["include_dashboard"]) == ("local", True)
    assert options["dashboard_host"] == "127.0.0.1"
    assert options["dashboard_port"] != 8265  # that of the user's own clusters
    assert "runtime_env" not in options
    assert WORKER_ENVIRONMENT.items() <= os.environ.items()
    assert os.environ[PREEMPTION_VARIABLE] == "0", "nobody warns, and the watcher costs"
    assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & set(os.environ)
    token = Path(os.environ["PERFT_HOME"]) / "ray" / "auth_token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text()
    assert len(secret) == 64
    in_a_thread(lambda: start_ray(OWN, print))
    assert token.read_text() == secret  # another search of the same home may be using it
    assert ray._private.services.get_node_ip_address() == "127.0.0.1"


def test_its_processes_inherit_the_policy(asked: Any) -> None:
    found: list[str] = []

    def start() -> None:
        start_ray(OWN, print)
        child = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
        found.append(child.stdout.strip())

    in_a_thread(start)
    assert found == [HERE]


def starting(outcomes: list[BaseException | None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user reads of starts of Ray that end so, and leave a process when they fail."""
    said: list[str] = []
    left: list[subprocess.Popen[bytes]] = []

    def init(*_where: Any, **_options: Any) -> None:
        if error := outcomes.pop(0):
            left.append(subprocess.Popen(["sleep", "600"]))
            raise error

    def start() -> None:
        try:
            start_ray(OWN, said.append)
        except SearchError as error:
            said.append(str(error))
        except KeyboardInterrupt:
            said.append("interrupted")

    monkeypatch.setattr(ray, "init", init)
    in_a_thread(start)
    assert not any(psutil.pid_exists(process.pid) for process in left)
    for process in left:
        process.wait()
    return said


AGAIN = "Ray was not up in time; starting it again"


def test_a_ray_that_is_late_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Exception("The current node timed out\nduring startup.")
    assert starting([late, None], monkeypatch) == [AGAIN]
    *told, refusal = starting([late] * 3, monkeypatch)
    assert told == [AGAIN] * 2
    assert refusal.startswith(
        "Ray did not start on this machine: The current node timed out during"
    )
    assert refusal.endswith("ray/session_latest/logs")


@pytest.mark.parametrize("error", [SystemExit(1), TimeoutError(), OSError("no room")])
def test_a_ray_that_cannot_start_says_where_its_logs_are(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    (refusal,) = starting([error], monkeypatch)
    assert refusal.startswith("Ray did not start on this machine: ")
    assert "\n" not in refusal


def test_a_signal_that_ray_takes_for_itself_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert starting([SystemExit(signal.SIGTERM)], monkeypatch) == ["interrupted"]


def test_a_cluster_that_lets_nobody_in_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_where: Any, **_options: Any) -> None:
        raise ConnectionError("Failed to connect\nto Ray cluster")

    monkeypatch.setattr(ray, "init", init)
    message = r"cannot join the Ray cluster at 10\.0\.0\.1:6379: Failed to connect to Ray cluster"
    with pytest.raises(SearchError, match=message):
        start_ray(Cluster("10.0.0.1:6379", ""), print)


@pytest.mark.parametrize(
    ("kind", "folder", "where"),
    [
        (ray_constants.PROCESS_TYPE_DASHBOARD, "/tmp/ray/session", "/tmp/ray/session"),
        (ray_constants.PROCESS_TYPE_DASHBOARD, f"/tmp/{'long' * 30}", None),
        (ray_constants.PROCESS_TYPE_RAYLET, "/tmp/ray/session", None),
    ],
)
def test_only_the_dashboard_has_its_temporary_files_in_the_session(
    kind: str, folder: str, where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []

    def start(_command: list[str], _kind: str, **options: Any) -> None:
        started.append(options)

    def init(*_where: Any, **_options: Any) -> None:
        services.start_ray_process(["python", f"--session-dir={folder}"], kind, fate_share=True)

    monkeypatch.setattr(services, "start_ray_process", start)
    monkeypatch.setattr(ray, "init", init)
    in_a_thread(lambda: start_ray(OWN, print))
    assert started[0].get("env_updates", {}).get("TMPDIR") == where
    assert started[0]["fate_share"]
    assert services.start_ray_process is start
