"""The example of a user's own task is searched, trained and scored without a line of perft."""

import json
import pickle
import re
import shutil
from pathlib import Path

import optuna
import pytest
from calling import call

from perft.search.prepare import Wish, prepare, prepare_resume, task_source
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
    correct = int(done.output.partition("test test: ")[2].partition("/80")[0])
    assert correct > 20
    again = call("evaluate", "--adapter", str(tmp_path / "adapter"), "--json")
    assert (again.status, again.errors) == (0, "")
    scores = {score["split"]: score for score in json.loads(again.output)["scores"]}
    assert (scores["test"]["correct"], scores["validation"]["scored"]) == (correct, 20)


def test_a_search_is_prepared_from_it_and_taken_up_again(space: str, tmp_path: Path):
    wish = Wish(space=space, name="first", storage=str(tmp_path / "searches"), validation_size=20)
    prepared = prepare(wish)
    assert prepared.settings.task == "larger-number"
    task = load_task(task_source(prepared.settings))
    assert {split.name: len(split.examples) for split in (task.train, *task.tests)} == {
        "train": 400, "test": 80,
    }  # fmt: skip
    prepared.settings.write(prepared.search)
    again = prepare_resume("first", str(tmp_path / "searches"))
    assert again.settings == prepared.settings
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    pickle.loads(pickle.dumps(again.draw))(trial)


def test_the_guide_shows_the_examples_own_lines():
    (block,) = re.findall(
        r"```python\n(.*?)```", (EXAMPLE.parents[1] / "tasks.md").read_text(), re.S
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
