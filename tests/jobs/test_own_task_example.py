"""The example of a user's own task is searched, trained and scored without a line of perft."""

import json
import pickle
import re
import shutil
from pathlib import Path

import optuna
import pytest
from calling import call

from perft.models.source import BUILTIN
from perft.searching.prepare import SearchRequest, prepare
from perft.searching.resume import prepare_resume
from perft.tasks import load_task

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_task"


@pytest.fixture
def space(tmp_path: Path) -> str:
    """A copy of the example, outside the project."""
    return str(shutil.copytree(EXAMPLE, tmp_path / "mine") / "space.py")


def test_it_trains_and_is_scored_again_on_its_own_data(space: str, tmp_path: Path):
    done = call(
        "train", "--space", space, "--variant", "lora-qv", "--rank", "8", "--validation-size",
        "20", "--out", str(tmp_path / "adapter"),
    )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    correct = int(done.output.partition("test split test: ")[2].partition("/80")[0])
    assert correct > 20
    again = call("evaluate", "--adapter", str(tmp_path / "adapter"), "--json")
    assert (again.status, again.errors) == (0, "")
    scores = {score["split"]: score for score in json.loads(again.output)["scores"]}
    assert (scores["test"]["correct"], scores["validation"]["scored"]) == (correct, 20)


JUDGED = """
def larger(text: str, label: str) -> bool:
    Path(__file__).with_name("ran").touch()
    return label in text


TASK = dataclasses.replace(TASK, scorer=larger)
SPACE = """


def test_an_adapter_scores_the_same_on_another_machine(
    space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = Path(space).read_text()
    Path(space).write_text(JUDGED.join(text.rsplit("SPACE = ", 1)))
    done = call(
        "train", "--space", space, "--variant", "lora-qv", "--rank", "8", "--validation-size",
        "20", "--out", str(tmp_path / "adapter"),
    )  # fmt: skip
    correct = int(done.output.partition("test split test: ")[2].partition("/80")[0])
    assert correct > 20
    # Nothing is left of where it was made but the folder and a file of rows.
    there = tmp_path / "there"
    shutil.copytree(tmp_path / "adapter", there / "got")
    shutil.copy(Path(space).with_name("test.jsonl"), there / "rows.jsonl")
    for folder in (tmp_path / "adapter", Path(space).parent):
        shutil.rmtree(folder)
    monkeypatch.setenv("PERFT_HOME", str(there / "home"))
    monkeypatch.chdir(there)
    again = call(
        "evaluate", "--adapter", "got", "--base-model", str(BUILTIN), "--data", "rows.jsonl",
        "--trust-code", "--json",
    )  # fmt: skip
    assert (again.status, again.errors) == (
        0, f"runs {there}/got/scorer.py, whose function larger scores task 'larger-number'\n",
    )  # fmt: skip
    (score,) = json.loads(again.output)["scores"]
    assert (score["split"], score["correct"], score["scored"]) == ("test", correct, 80)


def test_code_that_scores_runs_only_when_the_user_says_so(space: str, tmp_path: Path):
    text = Path(space).read_text()
    Path(space).write_text(JUDGED.join(text.rsplit("SPACE = ", 1)))
    adapter = tmp_path / "adapter"
    done = call(
        "train", "--space", space, "--variant", "lora-qv", "--rank", "2", "--validation-size",
        "20", "--max-steps", "2", "--out", str(adapter),
    )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in adapter.iterdir())
    # As if the folder had come from elsewhere, its code with it.
    theirs = Path(space).parent.rename(tmp_path / "theirs")
    (theirs / "ran").unlink()
    elsewhere = ("evaluate", "--adapter", str(adapter), "--base-model", str(BUILTIN), "--json")
    (theirs / "space.py").rename(theirs / "old.py")  # what lies beside the adapter is enough
    assert "train.jsonl and test.jsonl; name the folder that holds" in call(*elsewhere).refusal
    done = call(*elsewhere, "--data", str(theirs))
    assert done.status == 0
    assert done.errors == (
        f"note: task 'larger-number' is scored by the function larger of {adapter}/scorer.py, "
        "which was not run; the rule exact scores it instead; look at the file, then use "
        "--trust-code\n"
    )
    assert "exact" in json.loads(done.output)["scores"][0]["protocol"]
    assert not (adapter / "ran").exists()
    done = call(*elsewhere, "--data", str(theirs), "--trust-code")
    assert (done.status, done.errors) == (
        0, f"runs {adapter}/scorer.py, whose function larger scores task 'larger-number'\n",
    )  # fmt: skip
    assert "larger" in json.loads(done.output)["scores"][0]["protocol"]
    assert (adapter / "ran").exists()


def test_a_search_is_prepared_from_it_and_taken_up_again(space: str, tmp_path: Path):
    search_request = SearchRequest(
        space=space, name="first", storage=str(tmp_path / "searches"), validation_size=20
    )
    plan = prepare(search_request)
    assert plan.settings.task == "larger-number"
    task = load_task(plan.source)
    assert {split.name: len(split.examples) for split in (task.train, *task.tests)} == {
        "train": 400, "test": 80,
    }  # fmt: skip
    plan.settings.write(plan.search)
    again = prepare_resume("first", str(tmp_path / "searches"))
    assert again.settings == plan.settings
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    pickle.loads(pickle.dumps(again.draw))(trial)


def test_the_guide_shows_the_examples_own_lines():
    page = (EXAMPLE.parents[1] / "tasks.md").read_text()
    (block,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "larger" in block
    )
    example = (EXAMPLE / "space.py").read_text().splitlines()
    shown = {line.partition("  #")[0] for line in example}
    assert set(block.splitlines()[1:]) <= shown


def test_data_besides_its_own_are_refused(space: str, tmp_path: Path):
    refusal = call(
        "train", "--space", space, "--variant", "perft-s", "--rank", "2", "--data", str(tmp_path)
    ).refusal
    assert refusal.startswith("task 'larger-number' declares its own data")


def test_a_space_that_is_no_file():
    refusal = call("train", "--space", "none.py", "--variant", "perft-s", "--rank", "2").refusal
    assert refusal == "none.py is no file here; name a Python file that is"
