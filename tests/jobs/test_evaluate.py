"""`jobs/evaluate.py`: an adapter scored again, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from calling import Done, call, row, write_data
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from contracts.bases import save_base, tiny_base
from perft.models.source import BUILTIN


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


def evaluate(adapter: Path, *more: str, task: str | None = None) -> Done:
    """Without a task, the adapter's own."""
    named = ("--task", task) if task else ()
    return call("evaluate", "--adapter", str(adapter), *named, *more)


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
    assert (value["base"], value["task"]) == ("built-in", "arithmetic")


def test_an_adapter_of_an_earlier_version_finds_its_built_in_base(adapter: Path):
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text())
    assert settings["base_model_name_or_path"] == "built-in"
    file.write_text(json.dumps(settings | {"base_model_name_or_path": "embedded"}))
    done = evaluate(adapter, "--json")
    assert (done.status, done.errors) == (0, "")


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
    base = str(shutil.copytree(BUILTIN, tmp_path / "base"))
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
    assert note == f"note: {base} is not the very base {adapter} was trained on"
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


def write_choices(folder: Path) -> str:
    """Questions of two commonsense tasks."""
    for name, choices in (("boolq", ("true", "false")), ("piqa", ("solution1", "solution2"))):
        rows = [
            {
                "instruction": f"Is it {i}?\n\nAnswer format: {'/'.join(choices)}",
                "answer": choices[i % 2],
            }
            for i in range(12)
        ]
        for path in (f"train/{name}.json", f"eval/{name}/test.json"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(rows))
    return str(folder)


@pytest.mark.parametrize("scoring", ["generation", "likelihood", "likelihood-normalized"])
def test_a_group_is_scored_in_every_way(adapter: Path, tmp_path: Path, scoring: str):
    data, out = write_choices(tmp_path / "choices"), tmp_path / "out"
    done = evaluate(
        adapter, "--data", data, "--scoring", scoring, "--out", str(out), task="commonsense"
    )
    assert (done.status, done.errors) == (0, "")
    assert "mean of 2 tests" in done.output
    results = json.loads((out / "results.json").read_text())
    tests = results["scores"][1:]
    assert [(score["split"], score["scored"]) for score in tests] == [("boolq", 12), ("piqa", 12)]
    mean = sum(score["accuracy"] for score in tests) / 2
    assert results["macro_average"]["accuracy"] == pytest.approx(mean)
    assert [score["overlap"] for score in tests] == [{"same": 12, "seen": 12, "examples": 12}] * 2
    assert all(("likelihood" in score["protocol"]) == (scoring != "generation") for score in tests)
    predictions = parquet.read_table(out / "predictions.parquet").to_pylist()
    for score in results["scores"]:
        made = [each for each in predictions if each["split"] == score["split"]]
        assert [each["index"] for each in made] == list(range(score["scored"]))
        assert sum(each["correct"] for each in made) == score["correct"]
    for each in predictions:
        assert each["prompt"].endswith("the correct answer is")
        assert each["correct"] == (each["extracted"] == each["label"])
        if scoring != "generation":
            assert each["extracted"] == each["output"].strip()


def test_two_adapters_are_compared_example_by_example(adapter: Path, tmp_path: Path):
    data, out = write_choices(tmp_path / "choices"), tmp_path / "out"
    other = shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    save_file({name: t + 0.5 for name, t in weights.items()}, other / "adapter_model.safetensors")
    arguments = ("--data", data, "--scoring", "likelihood", "--json")
    done = evaluate(
        adapter, *arguments, "--against", str(other), "--out", str(out), task="commonsense"
    )
    assert (done.status, done.errors) == (0, "")
    value = json.loads(done.output)
    assert value == json.loads((out / "results.json").read_text())
    predictions = parquet.read_table(out / "predictions.parquet").to_pylist()
    for score in value["scores"]:
        right = {
            role: [
                each["correct"]
                for each in predictions
                if (each["adapter"], each["split"]) == (role, score["split"])
            ]
            for role in ("adapter", "against")
        }
        pairs = list(zip(right["adapter"], right["against"], strict=True))
        assert score["against"]["only_first"] == pairs.count((True, False))
        assert score["against"]["only_second"] == pairs.count((False, True))
    alone = json.loads(evaluate(other, *arguments, task="commonsense").output)["scores"]
    assert [score["accuracy"] for score in alone] == [
        score["against"]["accuracy"] for score in value["scores"]
    ]


def test_an_adapter_against_itself_is_noise(adapter: Path):
    done = evaluate(adapter, "--against", str(adapter))
    assert (done.status, done.errors) == (0, "")
    assert "noise" in done.output
    assert not {"better", "worse"} & set(done.output.split())


def test_an_adapter_of_another_task_is_noted(adapter: Path, tmp_path: Path):
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    file = other / "adapter_config.json"
    settings = json.loads(file.read_text())
    settings["perft"]["trained_on"]["name"] = "commonsense"
    file.write_text(json.dumps(settings))
    done = evaluate(adapter, "--against", str(other))
    note = f"note: {other} was trained on task 'commonsense', the adapter on 'arithmetic'\n"
    assert (done.status, done.errors) == (0, note)


def test_likelihood_of_a_task_without_choices(adapter: Path):
    message = evaluate(adapter, "--scoring", "likelihood").refusal
    assert message.startswith("likelihood compares choices and the examples of validation have")


def test_out_that_cannot_be_written(adapter: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot write" in evaluate(adapter, "--out", str(tmp_path / "file" / "out")).refusal


def test_base_that_is_nowhere(adapter: Path):
    assert "base '/no/base' is neither" in evaluate(adapter, "--base-model", "/no/base").refusal


def test_a_base_in_a_folder_goes_by_its_name(adapter: Path):
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text()) | {"base_model_name_or_path": None}
    settings["perft"] |= {"base_name": "olmoe", "base_fingerprint": "0" * 64}
    file.write_text(json.dumps(settings))
    message = f"{adapter} does not say where the files of the base 'olmoe' are; give the base it"
    assert evaluate(adapter).refusal.startswith(message)


def test_other_data_than_it_was_trained_on_are_noted(adapter: Path, tmp_path: Path):
    data = write_data(tmp_path / "data", test=[row(number) for number in range(40, 47)])
    done = evaluate(adapter, "--data", data)
    assert done.errors == f"note: these are not the very data {adapter} was trained on\n"
