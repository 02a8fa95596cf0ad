"""Pairs of answers: the built-in ones, a user's own, and their token rows."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.packs import tiny_tokenizer
from contracts.pairs import pair_task, pairs
from perft.errors import ConfigError, DataError
from perft.synthetic.arithmetic import LARGEST
from perft.tasks import OwnTask, Task, TaskSource, load_task
from perft.tasks.contamination import overlap
from perft.tasks.tokenize import tokenize, tokenize_pairs
from perft.training.data import TokenizedTask


@pytest.fixture(scope="module")
def builtin() -> Task:
    return load_task(TaskSource(name="preferences", validation_size=300))


def test_both_answers_calculate_rightly_and_only_one_fits(builtin: Task) -> None:
    assert (len(builtin.train.examples), len(builtin.tests[0].examples)) == (4000, 1000)
    assert builtin.has_pairs
    for split in builtin.splits:
        for example in split.examples[:300]:
            for answer in example.pair:
                *equations, said = answer.strip().rstrip(".").split(". ")
                for equation in equations:
                    left, right = equation.split(" = ")
                    a, operator, b = left.split()
                    result = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}
                    assert result[operator] == int(right)
                    assert 0 <= int(right) <= LARGEST
                assert said == f"The answer is {right}"
            assert example.completion != example.rejected
            assert example.answer == example.completion.strip()


def test_no_pair_is_in_two_splits(builtin: Task) -> None:
    prompts = [{example.prompt for example in split.examples} for split in builtin.splits]
    assert len(set.union(*prompts)) == sum(map(len, prompts))
    answers = [{example.pair for example in split.examples} for split in builtin.splits]
    assert len(set.union(*answers)) == sum(map(len, answers))
    assert overlap(builtin)["test"].same == 0


def test_neither_answer_is_longer_or_likelier_by_its_operators(builtin: Task) -> None:
    """What tells them apart is the problem: a rule that reads answers alone stays near chance."""
    examples = builtin.train.examples
    lengths = [len(e.completion) - len(e.rejected) for e in examples]
    assert abs(float(np.mean(np.sign(lengths)))) < 0.25
    plus = [
        sum((" + " in answer) * sign for answer, sign in zip(e.pair, (1, -1), strict=True))
        for e in examples
    ]
    assert abs(float(np.mean(plus))) < 0.25


def test_the_builtin_pairs_follow_from_the_seed(builtin: Task) -> None:
    again = load_task(TaskSource(name="preferences", validation_size=300))
    other = load_task(TaskSource(name="preferences", validation_size=300, seed=1))
    assert again.fingerprint == builtin.fingerprint != other.fingerprint
    assert other.tests == builtin.tests
    with pytest.raises(ConfigError, match=r"preferences' is made up and has no data, found --data"):
        load_task(TaskSource(name="preferences", data="hub"))


def test_a_rejected_answer_is_part_of_the_fingerprint() -> None:
    assert pair_task().fingerprint == pair_task().fingerprint
    changed = pair_task()
    object.__setattr__(changed.train.examples[0], "rejected", "w9")
    assert changed.fingerprint != pair_task().fingerprint


@given(count=st.integers(1, 8), seed=st.integers(0, 50), max_length=st.integers(3, 16))
def test_the_rows_of_a_pair_have_one_prompt(count: int, seed: int, max_length: int) -> None:
    made = pairs(count, seed)
    rows = tokenize_pairs(made, tiny_tokenizer(), max_length)
    assert len(rows) == 2 * count
    for i in range(count):
        (chosen, free), (rejected, also_free) = rows.row(2 * i), rows.row(2 * i + 1)
        assert free == also_free >= 1
        assert np.array_equal(chosen[:free], rejected[:free])
        assert max(len(chosen), len(rejected)) <= max_length
    if not rows.truncated:
        alone = tokenize(made, tiny_tokenizer(), max_length, "answer")
        for i in range(count):
            assert np.array_equal(rows.row(2 * i)[0], alone.row(i)[0])


def test_rows_of_pairs_are_kept_apart_from_those_of_answers_and_of_other_pairs() -> None:
    task, tokenizer = pair_task(), tiny_tokenizer()
    rows = TokenizedTask(task, tokenizer, 64)
    assert len(rows.pairs(task.train, 16)) == 2 * len(rows.train(16, "answer")) == 42
    other = pair_task()
    for example in other.train.examples:
        object.__setattr__(example, "rejected", "w9 w9")
    theirs = TokenizedTask(other, tokenizer, 64).pairs(other.train, 16)
    assert theirs.row(1)[0].tolist() != rows.pairs(task.train, 16).row(1)[0].tolist()


ROWS = [
    {"question": f"What of {i}?", "good": f"Yes, {i}.", "bad": f"No, {i}.", "why": zlib.crc32(b"x")}
    for i in range(20)
]


def own(folder: Path, rows: list[dict], **settings: object) -> Task:
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = OwnTask(**{
        "name": "mine", "train": folder / "pairs.jsonl", "prompt": "Q: {question}\nA:",
        "answer": "good", "rejected": "bad", "scorer": "preference", **settings,
    })  # fmt: skip
    again = OwnTask.from_json(json.loads(json.dumps(task.to_json())))
    assert again.to_json() == task.to_json()
    return load_task(TaskSource(name="mine", own=task.to_json(), validation_size=4))


def test_a_users_own_pairs(tmp_path: Path) -> None:
    task = own(tmp_path, ROWS)
    example = next(e for e in task.train.examples if "of 3?" in e.prompt)
    assert (example.prompt, example.pair) == ("Q: What of 3?\nA:", (" Yes, 3.", " No, 3."))
    assert task.train.scorer.has_accuracy
    assert not task.train.scorer.generates
    assert task.train.scorer.protocol.startswith("own task mine: preference")
    framed = own(tmp_path, ROWS, completion=" So: {good}")
    assert framed.train.examples[0].rejected.startswith(" So: No")


def test_pairs_may_be_scored_by_what_is_written(tmp_path: Path) -> None:
    task = own(tmp_path, ROWS, scorer="exact")
    assert task.has_pairs
    assert task.train.scorer.generates


def test_what_is_no_pair_is_named_by_its_row(tmp_path: Path) -> None:
    same = [*ROWS[:6], {**ROWS[6], "bad": ROWS[6]["good"]}, *ROWS[7:]]
    with pytest.raises(DataError, match=r"row 7 has the same text as good and as bad; wanted two"):
        own(tmp_path, same)
    missing = [*ROWS[:2], {"question": "What?", "good": "Yes"}]
    with pytest.raises(DataError, match=r"row 3 has no bad; every row needs one"):
        own(tmp_path, missing)
    listed = [{**ROWS[0], "bad": [{"role": "user"}]}]
    with pytest.raises(DataError, match=r"row 1 has an array as bad; wanted text"):
        own(tmp_path, listed)
    with pytest.raises(ConfigError, match=r"\"preference\" compares pairs, found no rejected"):
        own(tmp_path, ROWS, rejected="")


def test_a_task_of_an_earlier_version_has_no_pairs(tmp_path: Path) -> None:
    flat = (
        own(tmp_path, ROWS)
        and OwnTask(name="old", train="t.jsonl", prompt="{q}", answer="a", scorer="exact").to_json()
    )
    del flat["rejected"]
    assert OwnTask.from_json(flat).rejected == ""
