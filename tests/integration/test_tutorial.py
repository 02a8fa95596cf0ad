"""The tutorial of the documents, followed to its end: from its data to an answer of the server.

The test types what the page shows, in the page's order; only the search is made shorter.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from searches import REPOSITORY, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text()
SHORTER = ("--num-trials", "3", "--max-steps", "16", "--validation-size", "20")


def shown(kind: str, containing: str) -> str:
    """The one block of a kind that has some text in it."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if containing in block)
    return found


def commands() -> list[list[str]]:
    """The arguments of every command of perft, but for the search on a base of the reader's own."""
    lines = re.findall(r"^    perft (.*)$", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines if "/models/" not in line]


def request() -> tuple[str, bytes]:
    """Address and body of the request that the page sends with curl."""
    text = re.sub(r"\\\n *", "", PAGE)
    (line,) = re.findall(r"^    (curl .*)$", text, re.MULTILINE)
    _, address, *options = shlex.split(line)
    return address, options[options.index("-d") + 1].encode()


def answer(address: str, body: bytes) -> dict[str, object]:
    """What the server answers."""
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=120) as got:
        return json.load(got)


def test_the_tutorial_leads_from_data_to_a_served_adapter(
    tmp_path: Path, start: Callable[..., Job]
) -> None:
    subprocess.run(
        [sys.executable, "-c", shown("python", "random.seed(0)")], cwd=tmp_path, check=True
    )
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 600
    (tmp_path / "space.py").write_text(shown("python", "SPACE = SearchSpace("))

    def perft(*args: str) -> Job:
        return start("-m", "perft", *args, inside=("env", "-C", str(tmp_path)), environment=PATHS)

    *steps, serve = commands()
    assert [step[0] for step in steps] == [
        "tasks",
        "plan",
        "search",
        "pareto",
        "export",
        "evaluate",
    ]
    for step in steps:
        job = perft(*step, *(SHORTER if step[0] == "search" else ()))
        assert job.end() == 0, job.errors
    assert (tmp_path / "knee" / "README.md").is_file()

    server = perft(*serve, "--port", "0")
    port_of = re.compile(r"http://127\.0\.0\.1:(\d+)")
    server.until(lambda: port_of.search(server.output))
    address, body = request()
    assert ":8000/" in address
    port = port_of.search(server.output)[1]
    answered = answer(address.replace(":8000/", f":{port}/"), body)
    assert answered["model"] == "knee"
    assert answered["usage"]["completion_tokens"] > 0
    server.send(signal.SIGINT)
    server.end()


PATHS = {"PYTHONPATH": str(REPOSITORY)}
"""perft as it is here, from any folder."""
