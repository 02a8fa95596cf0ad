"""`jobs/evaluate.py`: an adapter scored again, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from calling import Done, call, row, write_data

from contracts.bases import save_base, tiny_base
from perft.models.source import EMBEDDED


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of two steps, in `adapter` beside its `data`."""
    folder = tmp_path_factory.mktemp("made")
    done = call(
        "train", "--space", "arithmetic", "--variant", "perft-s", "--rank", "2", "--max-steps",
        "2", "--validation-size", "4", "--data", write_data(folder / "data"), "--out",
        str(folder / "adapter"),
    )  # fmt: skip
    assert done.status == 0, done.errors
    return folder


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """A copy of the adapter, to be damaged."""
    return Path(shutil.copytree(made / "adapter", tmp_path / "adapter"))


def evaluate(adapter: Path, *more: str, task: str = "arithmetic") -> Done:
    return call("evaluate", "--adapter", str(adapter), "--task", task, *more)


def test_every_split_of_the_adapters_own_data_is_scored(adapter: Path, made: Path):
    done = evaluate(adapter, "--json")
    assert (done.status, done.errors) == (0, "")
    value = json.loads(done.output)
    assert [(score["split"], score["scored"]) for score in value["scores"]] == [
        ("validation", 4), ("AddSub", 3),
    ]  # fmt: skip
    for score in value["scores"]:
        assert score["accuracy"] == score["correct"] / score["scored"]
        assert score["low"] <= score["accuracy"] <= score["high"]
    assert (value["base"], value["task"]) == ("embedded", "arithmetic")


def test_the_table_names_splits_and_protocol(adapter: Path):
    done = evaluate(adapter)
    assert (done.status, done.errors) == (0, "")
    assert "AddSub" in done.output
    assert "protocol: " in done.output


def test_one_test_set_of_other_data(adapter: Path, tmp_path: Path):
    data = write_data(tmp_path / "data", test=[row(number) for number in range(40, 47)])
    done = evaluate(adapter, "--data", data, "--json", task="AddSub")
    assert done.status == 0, done.errors
    assert json.loads(done.output)["scores"][-1]["scored"] == 7


def test_a_copy_of_the_base_gives_the_same_scores(adapter: Path, tmp_path: Path):
    base = str(shutil.copytree(EMBEDDED, tmp_path / "base"))
    scores = [
        json.loads(evaluate(adapter, "--json", *more).output)["scores"]
        for more in ((), ("--base-model", base))
    ]
    assert scores[0] == scores[1]


def test_adapter_that_does_not_fit_the_base(adapter: Path, tmp_path: Path):
    base = save_base(tiny_base("olmoe", torch.float32), tmp_path / "base")
    done = evaluate(adapter, "--base-model", str(base))
    assert (done.status, done.output) == (2, "")
    note, error = done.errors.splitlines()
    assert note == f"note: {base} is not the very base the adapter was trained on"
    assert error.startswith("error: ")
    assert "fit" in error


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_folder_that_lacks_a_file(adapter: Path, missing: str):
    (adapter / missing).unlink()
    assert evaluate(adapter).refusal == f"{adapter} is no adapter folder: it has no {missing}"


def test_folder_that_is_not_there(tmp_path: Path):
    assert f"{tmp_path}/none is no adapter folder" in evaluate(tmp_path / "none").refusal


def test_folder_that_perft_did_not_write(adapter: Path):
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    message = evaluate(adapter).refusal
    assert message.startswith(f"{adapter}/adapter_config.json was not written by perft")


def test_damaged_weights(adapter: Path):
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert f"the adapter folder {adapter} is damaged" in evaluate(adapter).refusal


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("arithmetik", "unknown task 'arithmetik'; did you mean 'arithmetic' or"),
        ("adsub", "unknown task 'adsub'; did you mean 'addsub'?"),
        ("multiarith", "has no test file of the LLM-Adapters layout"),
    ],
)
def test_task_that_cannot_be_scored(adapter: Path, task: str, message: str):
    assert message in evaluate(adapter, task=task).refusal


def test_base_that_is_nowhere(adapter: Path):
    assert "base '/no/base' is neither" in evaluate(adapter, "--base-model", "/no/base").refusal
