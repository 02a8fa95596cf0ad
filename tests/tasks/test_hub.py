"""Datasets as the hub holds them, from local copies, read as the LLM-Adapters files read."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from perft.errors import ConfigError, DataError
from perft.tasks import Task, TaskSource, load_task
from perft.tasks import hub as tasks_hub
from perft.tasks.prompts import alpaca

OPTIONS = {"label": ["A", "B", "C"], "text": ["ice", "sand", "air"]}
TWO = {
    "google/boolq": (
        "default", "validation",
        [{"question": "is ice cold", "answer": True, "passage": ""}],
        "Please answer the following question with true or false, question: is ice cold?\n\n"
        "Answer format: true/false",
        "true",
    ),
    "baber/piqa": (
        "default", "validation",
        [{"goal": "Open it", "sol1": "Push.", "sol2": "Pull.", "label": 1}],
        "Please choose the correct solution to the question: Open it\n\n"
        "Solution1: Push.\n\nSolution2: Pull.\n\nAnswer format: solution1/solution2",
        "solution2",
    ),
    "lighteval/siqa": (
        "default", "validation",
        [{"context": "Ann left.", "question": "Why?", "answerA": "late", "answerB": "sad",
          "answerC": "ill", "label": "3"}],
        "Please choose the correct answer to the question: Ann left. Why?\n\n"
        "Answer1: late Answer2: sad Answer3: ill\n\nAnswer format: answer1/answer2/answer3",
        "answer3",
    ),
    "Rowan/hellaswag": (
        "default", "validation",
        [{"activity_label": "Skiing", "ctx": "A man", "endings": ["a", "b", "c", "d"],
          "label": "0"}],
        "Please choose the correct ending to complete the given sentence: Skiing: A man\n\n"
        "Ending1: a Ending2: b Ending3: c Ending4: d\n\n"
        "Answer format: ending1/ending2/ending3/ending4",
        "ending1",
    ),
    "allenai/winogrande": (
        "winogrande_xl", "validation",
        [{"sentence": "Ann saw Mia and _ ran.", "option1": "Ann", "option2": "Mia",
          "answer": "2"}],
        "Please choose the correct answer to fill in the blank to complete the given sentence: "
        "Ann saw Mia and _ ran.\n\nOption1: Ann Option2: Mia\n\nAnswer format: option1/option2",
        "option2",
    ),
    "allenai/openbookqa": (
        "main", "test",
        [{"question_stem": "What melts?", "choices": OPTIONS, "answerKey": "A"}],
        "Please choose the correct answer to the question: What melts?\n\n"
        "Answer1: ice Answer2: sand Answer3: air\n\nAnswer format: answer1/answer2/answer3",
        "answer1",
    ),
}  # fmt: skip
"""By id: configuration, split that is tested on, a row, and what it becomes."""


def copy(root: Path, name: str, splits: dict[str, list[dict[str, Any]]], *configs: str) -> None:
    """A dataset as a download of it looks: Parquet files that its README assigns to splits."""
    folder = root / name
    lines = ["---", "configs:"]
    for config in configs or ("default",):
        (folder / config).mkdir(parents=True)
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            parquet.write_table(pa.Table.from_pylist(rows), folder / config / f"{split}.parquet")
            lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def many(row: dict[str, Any], column: str) -> list[dict[str, Any]]:
    return [row | {column: f"{i} {row[column]}"} for i in range(10)]


def load(root: Path, name: str) -> Task:
    return load_task(TaskSource(name=name, data=str(root), validation_size=2))


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("boolq", "google/boolq"),
        ("piqa", "baber/piqa"),
        ("social_i_qa", "lighteval/siqa"),
        ("hellaswag", "Rowan/hellaswag"),
        ("winogrande", "allenai/winogrande"),
        ("openbookqa", "allenai/openbookqa"),
    ],
)
def test_a_commonsense_row_becomes_the_published_one(
    tmp_path: Path, name: str, dataset: str
) -> None:
    config, split, rows, instruction, answer = TWO[dataset]
    column = next(iter(rows[0]))
    copy(tmp_path, dataset, {"train": many(rows[0], column), split: rows}, config)
    task = load(tmp_path, name)
    assert (len(task.train.examples), len(task.validation.examples)) == (8, 2)
    (example,) = task.tests[0].examples
    assert example.prompt == alpaca(instruction) + "the correct answer is"
    assert (example.answer, task.tests[0].name) == (answer, name)


def test_two_benchmarks_are_two_configurations_of_one_dataset(tmp_path: Path) -> None:
    row = {"question": "What melts?", "choices": OPTIONS, "answerKey": "B"}
    splits = {"train": many(row, "question"), "test": [row]}
    copy(tmp_path, "allenai/ai2_arc", splits, "ARC-Easy", "ARC-Challenge")
    task = load(tmp_path, "commonsense")
    assert [test.name for test in task.tests] == ["ARC-Easy", "ARC-Challenge"]
    assert len(task.train.examples) + len(task.validation.examples) == 20
    assert {test.examples[0].answer for test in task.tests} == {"answer2"}


@pytest.fixture
def arithmetic(tmp_path: Path) -> Path:
    row = {"question": "2 and 2?", "answer": "It is <<2+2=4>>4.\n#### 1,004"}
    copy(tmp_path, "openai/gsm8k", {"train": many(row, "question"), "test": [row]}, "main")
    row = {"question": "How many?", "options": ["A)4", "B)5"], "rationale": "So.", "correct": "B"}
    copy(tmp_path, "deepmind/aqua_rat", {"train": many(row, "question"), "test": [row]}, "raw")
    row = {"question": "Ten ?", "final_ans": "10"}
    copy(tmp_path, "ChilleD/MultiArith", {"train": many(row, "question"), "test": [row]})
    row = {"Body": "Ann has 2", "Question": "How many?", "Answer": 2.0}
    copy(tmp_path, "ChilleD/SVAMP", {"train": many(row, "Body"), "test": [row]})
    return tmp_path


def test_arithmetic_from_the_hub(arithmetic: Path) -> None:
    task = load(arithmetic, "arithmetic")
    assert {test.name: len(test.examples) for test in task.tests} == {
        "MultiArith": 11, "gsm8k": 1, "AQuA": 1, "SVAMP": 11,
    }  # fmt: skip
    assert len(task.train.examples) + len(task.validation.examples) == 20, "gsm8k's and AQuA's"
    last = {test.name: test.examples[-1] for test in task.tests}
    assert last["gsm8k"].completion == "It is 4. The answer is 1,004."
    assert (last["gsm8k"].answer, last["SVAMP"].answer) == ("1,004", "2.0")
    assert "Ann has 2. How many?" in last["SVAMP"].prompt
    assert "How many? Answer Choices: (A) 4 (B) 5" in last["AQuA"].prompt


def test_what_is_tested_as_a_whole_trains_on_another_ones_rows(arithmetic: Path) -> None:
    task = load(arithmetic, "svamp")
    assert len(task.tests[0].examples) == 11
    assert all("2 and 2?" in example.prompt for example in task.train.examples)


def test_the_word_hub_asks_the_hub(arithmetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset",
        lambda place, *args, **settings: there(str(arithmetic / place), *args, **settings),
    )  # fmt: skip
    task = load_task(TaskSource(name="gsm8k", data="hub", validation_size=2))
    assert task.fingerprint == load(arithmetic, "gsm8k").fingerprint


@pytest.mark.parametrize("name", ["addsub", "singleeq"])
def test_what_the_hub_does_not_have(arithmetic: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="has no dataset on the hub; name a directory in the LLM"):
        load_task(TaskSource(name=name, data="hub"))
    with pytest.raises(ConfigError, match=f"has no dataset in {arithmetic}"):
        load(arithmetic, name)


def test_another_dataset_in_its_place_is_named(tmp_path: Path) -> None:
    rows = [{"goal": "Open it", "first": "Push.", "label": 0}] * 10
    copy(tmp_path, "baber/piqa", {"train": rows, "validation": rows})
    with pytest.raises(DataError, match=r"piqa \[train\], row 1 is not a row of .*goal, first"):
        load(tmp_path, "piqa")


def test_a_dataset_that_cannot_be_had(tmp_path: Path) -> None:
    copy(tmp_path, "google/boolq", {"train": TWO["google/boolq"][2]})
    with pytest.raises(DataError, match=r"google/boolq \[validation\] cannot be loaded: .*validat"):
        load(tmp_path, "boolq")
    with pytest.raises(DataError, match=r"dataset nobody/nothing \[train\] cannot be loaded"):
        tasks_hub.dataset_rows("nobody/nothing", None, "train")
