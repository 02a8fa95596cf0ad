"""An exported folder goes to the hub whole, or an error says in one line why it does not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub_server import TOKEN, Hub, hub_server

import perft
from perft.errors import ConfigError, StorageError
from perft.export.hub import push, require_login
from perft.selection import result_line, write_results
from perft.storage import Storage
from pretend import SETTINGS, search_of_six, store_adapters

# huggingface_hub's own, when it sends a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback that this process takes for the hub, and is logged in at."""
    with hub_server() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "adapter"
    made.mkdir()
    (made / "README.md").write_text("---\nlibrary_name: perft\n---\n# card\n")
    (made / "adapter_model.safetensors").write_bytes(b"weights" * 1000)
    return made


def write_search(home: Path) -> None:
    """Writes the search `first` under a home of perft."""
    search = Storage(str(home)).child("searches/first")
    search.write("search.json", json.dumps(SETTINGS).encode())
    store_adapters(search, search_of_six())
    write_results(search, map(result_line, search_of_six()))


def test_a_folder_arrives_whole(hub: Hub, folder: Path) -> None:
    require_login("me/adapter")
    place = push(folder, "me/adapter", private=True, message="Trial 3", progress=False)
    assert place == f"{hub.address}/me/adapter"
    assert hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert hub.repos["me/adapter"]["visibility"] == "private"
    assert hub.message == "Trial 3"


@pytest.mark.parametrize(
    ("repo", "token", "words"),
    [
        ("me/no name", TOKEN, "push-to-hub me/no name: Repo id must"),
        ("adapter", TOKEN, "wanted its owner too: OWNER/adapter"),
        ("me/adapter", "hf_wrong", "does not accept your token; log in by"),
    ],
)
def test_what_cannot_be_sent_is_refused_first(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, repo: str, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=words) as refused:
        require_login(repo)
    assert "\n" not in str(refused.value)
    assert token not in str(refused.value)


def test_who_is_not_logged_in_is_told_how(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="you are not logged in at http"):
        require_login("me/adapter")


def test_a_hub_that_is_away_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9 cannot be asked who is logged in"):
        require_login("me/adapter")


def test_a_refusal_says_what_is_left(hub: Hub, folder: Path) -> None:
    hub.refuses = 402
    with pytest.raises(StorageError, match=f"{folder} is written, but .*; send") as found:
        push(folder, "me/adapter", private=False, message="x", progress=False)
    assert "\n" not in str(found.value)
    assert hub.files == {}


def test_an_export_goes_to_the_hub_in_one_call(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    write_search(tmp_path)
    found = perft.results("first")
    with pytest.raises(ConfigError, match="add --push-to-hub"):
        found.export(out=tmp_path / "adapter", private=True)
    with pytest.raises(ConfigError, match="license"):
        found.export(out=tmp_path / "adapter", license="no licence")
    assert not (tmp_path / "adapter").exists()
    folder = found.export(
        out=tmp_path / "adapter", license="mit", push_to_hub="me/adapter", private=True
    )
    assert hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert hub.repos["me/adapter"]["visibility"] == "private"
    assert hub.message == "Trial 3 of search first"
    matter = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert matter["license"] == "mit"


def test_an_export_goes_to_the_hub_in_one_command(tmp_path: Path) -> None:
    write_search(tmp_path)
    with hub_server() as hub:
        done = subprocess.run(
            [
                sys.executable, "jobs/export.py", "--name", "first", "--out", str(tmp_path / "out"),
                "--pick", "1", "--license", "mit", "--push-to-hub", "me/adapter", "--json",
            ],
            cwd=REPOSITORY, capture_output=True, check=False, text=True,
            env={
                **os.environ, "PERFT_HOME": str(tmp_path), "HF_ENDPOINT": hub.address,
                "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
                "HF_HOME": str(tmp_path / "hf"),
            },
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repo"] == f"{hub.address}/me/adapter"
    assert done.stderr.splitlines() == [
        "sends to me/adapter: MLmodel, README.md, adapter_config.json, adapter_model.safetensors, "
        "input_example.json, python_env.yaml, requirements.txt, trial.json"
    ]
    assert hub.files == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert hub.message == "Trial 1 of search first"
    card = hub.files["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    assert "PeftModel.from_pretrained(model, 'me/adapter')" in card
    assert not any(TOKEN.encode() in data for data in hub.files.values())
