"""`perft serve` as a program: HTTP, server-sent events, a client that leaves, its end."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx2
import pytest
from serving_hosts import ADAPTERS, QUESTIONS

from jobs.calling import call
from perft.checkpoint import save_adapter
from perft.commands.serve import adapters_by_name
from perft.errors import ConfigError
from perft.serving.guard import is_loopback
from perft.serving.models import Served
from perft.serving.server import bind, read_token

REPOSITORY = Path(__file__).parents[2]
PATH = "/v1/completions"


@pytest.fixture(scope="module")
def folders(served: Served, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    return [save_adapter(served.host, name, root / name) for name in ADAPTERS]


def test_a_token_is_needed_where_others_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERFT_SERVE_TOKEN", raising=False)
    assert read_token("127.0.0.1", None) is None
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0 can be reached .* --token-file"):
        read_token("0.0.0.0", None)
    file = tmp_path / "token"
    file.write_text("a-token-of-some-length\n")
    assert read_token("0.0.0.0", file) == read_token("::1", file) == "a-token-of-some-length"
    monkeypatch.setenv("PERFT_SERVE_TOKEN", "another-long-token")
    assert read_token("0.0.0.0", None) == read_token("localhost", None) == "another-long-token"
    for text, words in (("short", "has 5 characters"), ("", "has 0"), ("é" * 20, "ASCII")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words) as refused:
            read_token("127.0.0.1", file)
        assert not text or text not in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token("127.0.0.1", tmp_path / "none")


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST")))
    assert not any(
        map(is_loopback, ("0.0.0.0", "10.1.1.1", "::", "example.com", "127.0.0.1.x", ""))
    )


def test_a_taken_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on port {port} of 127.0.0.1"):
            bind("127.0.0.1", port)


def test_adapters_are_named_by_their_folders_or_by_the_user(tmp_path: Path) -> None:
    (tmp_path / "odd=name").mkdir()
    named = adapters_by_name(
        [str(tmp_path / "a"), f"sum={tmp_path / 'b'}", str(tmp_path / "odd=name")]
    )
    assert named == {
        "a": tmp_path / "a", "sum": tmp_path / "b", "odd=name": tmp_path / "odd=name",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"two adapters are named 'a', .*--adapter NAME="):
        adapters_by_name([str(tmp_path / "a"), f"a={tmp_path / 'b'}"])


def test_a_mistake_is_one_line_before_the_base_is_loaded(tmp_path: Path) -> None:
    done = call("serve", "--adapter", str(tmp_path), "--host", "0.0.0.0")
    assert done.status == 2
    assert done.errors.startswith("error: ")
    assert "is no adapter folder" in done.errors
    assert done.errors.count("\n") == 1


@pytest.fixture
def start(folders: list[Path]) -> Iterator[Callable[..., "Running"]]:
    started: list[Running] = []

    def begin(*options: str) -> Running:
        started.append(Running(folders, options))
        return started[-1]

    yield begin
    for each in started:
        each.close()


class Running:
    """`perft serve` in a process of its own."""

    def __init__(self, folders: list[Path], options: tuple[str, ...]) -> None:
        adapters = [word for folder in folders for word in ("--adapter", str(folder))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perft", "serve", *adapters, "--base-model", "built-in",
             "--port", "0", "--dtype", "float64", "--json", *options],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.ready = json.loads(line)
        self.client = httpx2.Client(base_url=self.ready["url"], timeout=60)

    def metric(self, name: str) -> float:
        text = self.client.get("/metrics").text
        return float(next(v.split()[1] for v in text.splitlines() if v.startswith(f"{name} ")))

    def wait_until_idle(self) -> None:
        deadline = time.monotonic() + 60
        names = ("perft_serve_rows_running", "perft_serve_rows_waiting")
        while any(map(self.metric, names)):
            assert time.monotonic() < deadline, self.client.get("/metrics").text
            time.sleep(0.05)

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.communicate()


def texts_of(lines: Iterable[str]) -> str:
    """The text of a streamed completion."""
    found = [line.removeprefix("data: ") for line in lines if line]
    assert found.pop() == "[DONE]"
    return "".join(json.loads(line)["choices"][0]["text"] for line in found)


@pytest.mark.slow
def test_a_server_from_its_start_to_its_end(start, folders: list[Path]) -> None:
    running = start("--max-new-tokens", "900", "--max-batch", "3")
    assert running.ready["models"] == ["built-in", *ADAPTERS]
    body = {"model": ADAPTERS[0], "prompt": QUESTIONS[1], "max_tokens": 12, "temperature": 0}
    whole = running.client.post(PATH, json=body).json()
    with running.client.stream("POST", PATH, json=body | {"stream": True}) as found:
        assert texts_of(found.iter_lines()) == whole["choices"][0]["text"]

    # Clients that leave, one in the middle of a stream and one while it waits, free their rows.
    many = {"model": "built-in", "prompt": ["Sam"] * 60, "max_tokens": 900}
    with running.client.stream("POST", PATH, json=many | {"stream": True}) as found:
        lines = found.iter_lines()  # once dropped, it would close the connection
        assert next(lines).startswith("data: ")
        assert running.metric("perft_serve_rows_running") == 3
    running.wait_until_idle()
    with pytest.raises(httpx2.ReadTimeout):
        running.client.post(PATH, json=many, timeout=httpx2.Timeout(60, read=0.3))
    running.wait_until_idle()

    # The end: what runs is finished, and nobody new is taken.
    last = body | {"max_tokens": 60, "stream": True}
    with running.client.stream("POST", PATH, json=last) as found:
        lines = found.iter_lines()
        first = next(lines)
        running.process.send_signal(signal.SIGTERM)
        assert texts_of([first, *lines])
    output, errors = running.process.communicate(timeout=60)
    assert (running.process.returncode, output, errors) == (0, "", "")
    with pytest.raises(httpx2.ConnectError):
        running.client.get("/health")
