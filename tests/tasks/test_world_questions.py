"""The built-in commonsense task: true answers, disjoint splits, one task per seed."""

import re

import pytest

from perft.synthetic.pretraining import documents
from perft.tasks.task import Split, Task
from perft.tasks.world_questions import RELATIONS, SCORER, answer_of, commonsense

_SUBJECTS = {subject for relation in RELATIONS for subject in relation.facts}
_VALUES = {value for relation in RELATIONS for value in relation.facts.values()}
_TRUE = {
    relation.say(subject, value)
    for relation in RELATIONS
    for subject, value in relation.facts.items()
}
_WORDS = {
    "subject": _SUBJECTS,
    "value": _VALUES,
    "verb": {relation.verb for relation in RELATIONS},
}


@pytest.fixture(scope="module")
def task() -> Task:
    return commonsense(validation_size=400, seed=0)


def splits(task: Task) -> list[Split]:
    return [task.train, task.validation, *task.tests]


def shape_of(prompt: str) -> str:
    """The prompt without what it asks about."""
    for name, words in _WORDS.items():
        longest_first = sorted(words, key=len, reverse=True)
        prompt = re.sub(rf"\b({'|'.join(longest_first)})\b", f"<{name}>", prompt)
    return re.sub("(<value>, )*<value> or ", "", prompt)


def test_sizes_and_no_example_twice(task: Task) -> None:
    assert [len(split.examples) for split in splits(task)] == [4000, 400, 1000]
    for split in splits(task):
        assert len({example.prompt for example in split.examples}) == len(split.examples)


def test_no_shape_and_no_question_about_the_same_in_two_splits(task: Task) -> None:
    shapes: set[str] = set()
    asked: set[tuple[str, ...]] = set()
    for split in splits(task):
        its_shapes = {shape_of(example.prompt) for example in split.examples}
        its_asked = {
            tuple(sorted(re.findall("|".join(_SUBJECTS | _VALUES), example.prompt)))
            for example in split.examples
            if " or " in example.prompt or " and not " in example.prompt
        }
        assert not its_shapes & shapes
        assert not its_asked & asked
        shapes |= its_shapes
        asked |= its_asked
    assert len(shapes) > 15


def test_every_statement_of_an_answer_is_a_fact_and_the_answer_follows(task: Task) -> None:
    for split in splits(task):
        for example in split.examples:
            *known, last = example.completion.strip().split(". ")
            for statement in known:
                assert statement[0].lower() + statement[1:] in _TRUE
            assert last == f"The answer is {example.answer}."
            assert answer_of(example.completion) == example.answer
            if example.answer not in ("yes", "no"):
                assert example.answer in example.prompt
                assert known[0].endswith(example.answer)


def test_yes_and_no_are_even(task: Task) -> None:
    answers = [e.answer for e in task.tests[0].examples if e.answer in ("yes", "no")]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6
    assert len(answers) > 300


def test_the_base_has_read_every_fact_and_no_question(task: Task) -> None:
    read = documents(seed=0)
    text = "\n".join(next(read) for _ in range(20_000)).lower()
    assert all(fact in text for fact in _TRUE)
    assert "choose:" not in text
    assert "yes or no" not in text


def test_a_seed_gives_one_task_and_the_test_split_has_none(task: Task) -> None:
    again, other = commonsense(400, 0), commonsense(400, 1)
    assert again.fingerprint == task.fingerprint
    assert other.train.examples != task.train.examples
    assert other.tests[0].examples == task.tests[0].examples


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" The cat eats fish. The answer is fish.", "fish"),
        (" The answer is no. The answer is yes.", "yes"),
        (" The answer is fish", None),
        (" fish.", None),
        ("", None),
    ],
)
def test_the_answer_is_what_is_stated_last(text: str, answer: str | None) -> None:
    assert SCORER.extract(text) == answer
