"""The commonsense tasks: the protocol's prompts, labels and rules, whichever files there are."""

import json
from pathlib import Path
from typing import Any

import pytest

from perft.errors import DataError
from perft.tasks import Task, TaskSource, load_task
from perft.tasks.commonsense import GROUP

FORMATS = {
    "boolq": ("true", "false"),
    "piqa": ("solution1", "solution2"),
    "social_i_qa": ("answer1", "answer2", "answer3"),
    "hellaswag": ("ending1", "ending2", "ending3", "ending4"),
    "winogrande": ("option1", "option2"),
    "ARC-Easy": ("answer1", "answer2", "answer3", "answer4"),
    "ARC-Challenge": ("answer1", "answer2", "answer3", "answer4", "answer5"),
    "openbookqa": ("answer1", "answer2", "answer3", "answer4"),
}


def row(task: str, number: int, **changes: Any) -> dict[str, Any]:
    choices = FORMATS[task]
    answer = choices[number % len(choices)]
    return {
        "instruction": f"Which is right of {number}?\n\nAnswer format: {'/'.join(choices)}",
        "input": "",
        "output": f"the correct answer is {answer}",
        "answer": answer,
    } | changes


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Test sets of all eight tasks, and the training files of two."""
    for size, task in enumerate(FORMATS, start=1):
        write(tmp_path / f"eval/{task}/test.json", [row(task, i) for i in range(size)])
    for task in ("boolq", "ARC-Easy"):
        write(tmp_path / f"train/{task}.json", [row(task, 100 + i) for i in range(20)])
    return tmp_path


def load(data: Path, name: str = "commonsense") -> Task:
    return load_task(TaskSource(name=name, data=str(data), validation_size=4))


def test_the_group_has_every_test_set_and_trains_on_what_there_is(data: Path) -> None:
    task = load(data)
    assert {test.name: len(test.examples) for test in task.tests} == {
        name: size for size, name in enumerate(FORMATS, start=1)
    }
    assert (len(task.train.examples), len(task.validation.examples)) == (36, 4)


def test_a_mixture_is_preferred_to_the_tasks_own_files(data: Path) -> None:
    write(data / "ft-training_set/commonsense_170k.json", [row("piqa", i) for i in range(10)])
    assert len(load(data).train.examples) == 8
    assert len(load(data, "piqa").train.examples) == 8
    assert len(load(data, "boolq").train.examples) == 16, "its own file comes first"


def test_a_task_without_training_rows_of_its_kind_is_scored_all_the_same(data: Path) -> None:
    task = load(data, "hellaswag")
    assert [(test.name, len(test.examples)) for test in task.tests] == [("hellaswag", 4)]
    assert len(task.validation.examples) == 4


@pytest.mark.parametrize("name", FORMATS)
def test_an_example_as_the_protocol_has_it(data: Path, name: str) -> None:
    test = load(data, name.upper()).tests[0]
    example = test.examples[0]
    first = FORMATS[name][0]
    assert example.prompt.endswith("\n\n### Response:\nthe correct answer is")
    assert (example.completion, example.answer) == (f" {first}", first)
    assert example.choices == tuple(f" {choice}" for choice in FORMATS[name])
    scorer = test.scorer
    assert scorer.max_new_tokens == 4
    assert scorer.protocol == (
        f'LLM-Adapters, first label of {name}, prompt alpaca and "the correct answer is", greedy, '
        "4 tokens"
    )
    assert scorer.is_correct(f" {first}. No, {FORMATS[name][1]}", first)
    assert not scorer.is_correct(f" {FORMATS[name][1]}", first)
    assert not scorer.is_correct(f" {first.upper()}", first)
    assert not scorer.is_correct(f"\n\n### Response:\n{first}", first)


def test_every_choice_is_found_by_its_own_rule(data: Path) -> None:
    for test in load(data).tests:
        for example in test.examples:
            found = [test.scorer.extract(choice) for choice in example.choices]
            assert found == list(FORMATS[test.name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "maybe"}, "row 2 has the answer 'maybe'; wanted one of true, false"),
        ({"answer": "True"}, "row 2 has the answer 'True'; wanted one of true, false"),
        ({"answer": None}, "row 2 has no answer"),
        ({"answer": True}, "row 2 has true or false as answer; wanted text"),
        (
            {"instruction": "Is it?\n\nAnswer format: false"},
            "row 2 .*'true'; its instruction allows",
        ),
    ],
)
def test_a_label_outside_the_choices(data: Path, changes: dict[str, Any], message: str) -> None:
    write(data / "eval/boolq/test.json", [row("boolq", 1), row("boolq", 0, **changes)])
    with pytest.raises(DataError, match=rf"boolq/test\.json, {message}"):
        load(data, "boolq")


def test_a_row_that_states_no_format_has_the_choices_of_its_kind(data: Path) -> None:
    write(data / "eval/piqa/test.json", [row("piqa", 0, instruction="How do I open it?")])
    assert load(data, "piqa").tests[0].examples[0].choices == (" solution1", " solution2")


def test_labels_of_all_tasks_train_the_group() -> None:
    assert all(GROUP.train_labels.accepts(label) for labels in FORMATS.values() for label in labels)
    assert not GROUP.train_labels.accepts("4")
