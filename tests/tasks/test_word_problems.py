"""The built-in arithmetic task: disjoint splits, right labels, one task per seed."""

import re

import pytest

from perft.synthetic.world import PEOPLE, THINGS
from perft.tasks.task import Split, Task
from perft.tasks.word_problems import BAGS, DAYS, DROPS, GAINS, arithmetic

_EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)\.")
_SLOTS = {
    "name": [person.name for person in PEOPLE],
    "pronoun": ["he", "she", "his", "her"],
    "things": THINGS,
    "gains": GAINS,
    "drops": [*DROPS, "eats", "breaks"],
    "bag": [bag + end for bag in BAGS for end in ("", "s")],
    "day": DAYS,
    "number": [r"\d+"],
}


@pytest.fixture(scope="module")
def task() -> Task:
    return arithmetic(validation_size=400, seed=0)


def splits(task: Task) -> list[Split]:
    return [task.train, task.validation, *task.tests]


def numbers_of(completion: str) -> tuple[int, ...]:
    """The numbers of the problem: the first operand, then every second one; in any order."""
    found = _EQUATION.findall(completion)
    return tuple(sorted([int(found[0][0]), *(int(right) for _, _, right, _ in found)]))


def shape_of(prompt: str) -> str:
    """The prompt without its names, things, verbs and numbers."""
    for slot, words in _SLOTS.items():
        prompt = re.sub(rf"\b({'|'.join(words)})\b", f"<{slot}>", prompt)
    return prompt


def test_sizes_and_no_example_twice(task: Task) -> None:
    assert [len(split.examples) for split in splits(task)] == [4000, 400, 1000]
    for split in splits(task):
        assert len({example.prompt for example in split.examples}) == len(split.examples)


def test_no_numbers_and_no_sentence_shape_in_two_splits(task: Task) -> None:
    seen_numbers: set[tuple[int, ...]] = set()
    seen_shapes: set[str] = set()
    for split in splits(task):
        numbers = {numbers_of(example.completion) for example in split.examples}
        shapes = {shape_of(example.prompt) for example in split.examples}
        assert not numbers & seen_numbers
        assert not shapes & seen_shapes
        assert len(shapes) > 15
        seen_numbers |= numbers
        seen_shapes |= shapes


def test_solutions_use_the_problem_s_numbers_and_are_right(task: Task) -> None:
    for split in splits(task):
        for example in split.examples:
            asked = sorted(int(number) for number in re.findall(r"\d+", example.prompt))
            assert tuple(asked) == numbers_of(example.completion)
            for left, op, right, result in _EQUATION.findall(example.completion):
                a, b = int(left), int(right)
                assert int(result) == {"+": a + b, "-": a - b, "*": a * b}[op]
            assert example.completion.endswith(f" {result}. The answer is {example.answer}.")
            assert result == example.answer


def test_prompt_and_completion_join_with_one_space(task: Task) -> None:
    for example in task.train.examples:
        assert re.fullmatch(r"Question: [A-Z][^\n]*[.?]\nAnswer:", example.prompt)
        assert re.match(r" \d", example.completion)


def test_scorer_takes_the_last_number(task: Task) -> None:
    example = task.train.examples[0]
    scorer = task.train.scorer
    assert scorer.is_correct(example.completion, example.answer)
    assert scorer.is_correct(f" {example.answer}.0", example.answer)
    assert not scorer.is_correct(f"{example.completion} 1000", example.answer)
    assert not scorer.is_correct(" I do not know.", example.answer)


def test_same_seed_same_task_other_seed_other_training_but_same_test(task: Task) -> None:
    assert arithmetic(400, 0).fingerprint == task.fingerprint
    other = arithmetic(400, 1)
    assert other.train.examples != task.train.examples
    assert other.validation.examples != task.validation.examples
    assert other.tests[0].examples == task.tests[0].examples


def test_a_smaller_validation_split_is_the_beginning_of_a_larger_one(task: Task) -> None:
    assert arithmetic(50, 0).validation.examples == task.validation.examples[:50]
