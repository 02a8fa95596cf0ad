"""An exported folder as a model of MLflow: it predicts what the adapter generates."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from exported import PROMPTS, exported, loaded, written_by
from perft.config import LoraQVConfig, RoutedConfig
from perft.errors import ConfigError
from perft.export.mlmodel import LOADER, MAX_NEW_TOKENS
from perft.serving import pyfunc

NEW = 12
PATIENCE = 60  # seconds for the server to start, on a busy machine


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answered(request: urllib.request.Request, server: subprocess.Popen[bytes]) -> Any:
    """The answer to a request, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(request, timeout=PATIENCE) as response,
        ):
            return json.load(response)
        time.sleep(0.2)
    pytest.fail("mlflow models serve did not start")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends a server with everything that it started."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("routed"), RoutedConfig(rank=4, num_experts=4, top_k=2))


def test_it_predicts_what_the_adapter_generates(folder: Path):
    model = loaded(str(folder))
    table = pd.DataFrame({"prompt": PROMPTS})
    expected = written_by(folder, PROMPTS, NEW)
    assert model.predict(table, params={"max_new_tokens": NEW}) == expected
    assert len(set(expected)) > 1


def test_a_lora_does_too(tmp_path: Path):
    folder = exported(tmp_path, LoraQVConfig(rank=4))
    model = loaded(str(folder))
    table = pd.DataFrame({"prompt": PROMPTS})
    assert model.predict(table, params={"max_new_tokens": NEW}) == written_by(folder, PROMPTS, NEW)


def test_it_says_what_it_takes_and_gives(folder: Path):
    model = loaded(str(folder)).metadata
    assert model.signature is not None
    assert [column.name for column in model.signature.inputs] == ["prompt"]
    (parameter,) = model.signature.params
    assert (parameter.name, parameter.default) == ("max_new_tokens", MAX_NEW_TOKENS)
    assert MAX_NEW_TOKENS == pyfunc.DEFAULT_NEW_TOKENS
    assert pyfunc.__name__ == LOADER
    example = model.load_input_example(str(folder))
    assert list(example.columns) == ["prompt"]
    assert "### Instruction:" in example["prompt"][0]


def test_its_requirements_are_the_versions_of_its_search(folder: Path):
    assert (folder / "requirements.txt").read_text() == "torch==2.13.0\n"


def test_nothing_in_it_is_unpickled(folder: Path):
    flavour = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert set(flavour) == {"loader_module", "python_version", "env"}
    assert not {file.suffix for file in folder.iterdir()} & {".pkl", ".pickle", ".bin", ".pt"}


@pytest.mark.parametrize("new", [0, -1, 10**6])
def test_tokens_that_the_base_has_no_room_for_are_refused(folder: Path, new: int):
    model = pyfunc._load_pyfunc(str(folder))
    with pytest.raises(ConfigError, match=f"max_new_tokens is {new}, wanted 1 or more"):
        model.predict(pd.DataFrame({"prompt": ["a"]}), {"max_new_tokens": new})


def test_an_unknown_setting_is_refused(folder: Path):
    with pytest.raises(ConfigError, match="model_config has 'device', wanted base_model, dtype"):
        pyfunc._load_pyfunc(str(folder), {"device": "cpu"})


@pytest.mark.slow
def test_mlflow_serves_it_over_http(folder: Path):
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager",
        "local", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    # MLflow finds uvicorn by PATH, as in an activated environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    server = subprocess.Popen(command, start_new_session=True, env=environment)
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(
                {
                    "dataframe_records": [{"prompt": prompt} for prompt in PROMPTS],
                    "params": {"max_new_tokens": NEW},
                }
            ).encode(),
            {"Content-Type": "application/json"},
        )
        answer = answered(request, server)
    finally:
        stop(server)
    assert answer == {"predictions": written_by(folder, PROMPTS, NEW)}
