"""Reading the LLM-Adapters layout: every row becomes an example, or its place is named."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from perft.errors import DataError
from perft.tasks import Example, Task, TaskSource, load_task, overlap
from perft.tasks.arithmetic import GROUP
from perft.tasks.benchmarks import Labels
from perft.tasks.extraction import is_number
from perft.tasks.prompts import alpaca, first_response
from perft.tasks.rows import read_rows

NUMBERS = Labels("a number", is_number)
UPSTREAM = ("ft-training_set/{}.json", "dataset/{}/test.json")
SHORT = ("train/{}.json", "eval/{}/test.json")


def row(number: int, answer: Any = None, **fields: Any) -> dict[str, Any]:
    answer = f"{number}.0" if answer is None else answer
    text = f"How many are {number} apples ?"
    return {
        "instruction": text,
        "input": "",
        "output": f"\nA: {number}.",
        "answer": answer,
    } | fields


def write(data: Path, path: str, rows: Any) -> Path:
    file = data / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def read_examples(file: Path, labels: Labels) -> tuple[Example, ...]:
    return GROUP.read(read_rows(file), labels)


@pytest.fixture(params=[UPSTREAM, SHORT], ids=["upstream", "short"])
def layout(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture
def data(tmp_path: Path, layout: tuple[str, str]) -> Path:
    train, test = layout
    options = [row(100 + i, "ABCDE"[i % 5]) for i in range(10)]
    write(tmp_path, train.format("math_data"), [row(i) for i in range(50)] + options)
    write(tmp_path, test.format("AddSub"), [row(i) for i in range(40, 60)])
    write(tmp_path, test.format("AQuA"), [row(200, "C")])
    return tmp_path


def arithmetic(data: Path, name: str = "arithmetic", **settings: Any) -> Task:
    return load_task(TaskSource(name=name, data=str(data), **settings))


def prompts(task: Task) -> tuple[list[str], list[str]]:
    return [e.prompt for e in task.train.examples], [e.prompt for e in task.validation.examples]


def test_every_row_is_loaded_once(data: Path) -> None:
    task = arithmetic(data, validation_size=8)
    assert (len(task.train.examples), len(task.validation.examples)) == (52, 8)
    assert [(test.name, len(test.examples)) for test in task.tests] == [("AddSub", 20), ("AQuA", 1)]
    wanted = {alpaca(row(i)["instruction"]) for i in (*range(50), *range(100, 110))}
    assert Counter(itertools.chain(*prompts(task))) == Counter(wanted)


def test_an_example_carries_prompt_completion_and_label(data: Path) -> None:
    example = arithmetic(data, "addsub").tests[0].examples[2]
    assert example.prompt == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nHow many are 42 apples ?\n\n### Response:\n"
    )
    assert (example.completion, example.answer) == ("A: 42.", "42.0")


@pytest.mark.parametrize("name", ["addsub", "AddSub", "ADDSUB"])
def test_one_benchmark_by_name_in_any_case(data: Path, name: str) -> None:
    task = arithmetic(data, name)
    assert (task.name, [test.name for test in task.tests]) == ("addsub", ["AddSub"])


def test_a_missing_benchmark_is_named_with_the_paths(data: Path) -> None:
    with pytest.raises(DataError, match=r"looked for dataset/SVAMP/test.json, eval/SVAMP/test"):
        arithmetic(data, "svamp")


def test_the_preferred_training_file_wins(data: Path, layout: tuple[str, str]) -> None:
    write(data, layout[0].format("math_10k"), [row(1000 + i) for i in range(10)])
    task = arithmetic(data)
    assert len(task.train.examples) + len(task.validation.examples) == 10


def test_validation_holds_only_what_its_rule_can_score(data: Path) -> None:
    numeric, option = arithmetic(data), arithmetic(data, "aqua")
    assert len(numeric.validation.examples) == 10  # a fifth of the 50 rows with numbers
    assert all(is_number(e.answer) for e in numeric.validation.examples)
    assert sorted(len(e.answer) for e in option.validation.examples) == [1, 1]
    assert option.validation.scorer.is_correct("the answer is (C)", "C")
    assert numeric.validation.scorer.protocol != option.validation.scorer.protocol


def test_the_seed_chooses_the_hold_out_and_the_file_order_does_not(data: Path) -> None:
    first, again, other = (prompts(arithmetic(data, seed=seed))[1] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    file = next(data.glob("*/math_data.json"))
    file.write_text(json.dumps(json.loads(file.read_text())[::-1]))
    assert prompts(arithmetic(data, seed=0))[1] == first


def test_duplicates_never_straddle_the_hold_out(tmp_path: Path) -> None:
    rows = [row(i) for i in range(20)]
    shouted = [r | {"instruction": f"  {r['instruction'].upper()} "} for r in rows]
    write(tmp_path, "train/math_data.json", rows + shouted)
    write(tmp_path, "eval/AddSub/test.json", rows)
    for seed in range(5):
        train, held = prompts(arithmetic(tmp_path, seed=seed))
        assert len(held) == 8
        assert not {p.lower() for p in train} & {p.lower() for p in held}


def test_overlap_counts_test_rows_seen_in_training(data: Path) -> None:
    # 40..49 are training rows, held out or not; 50..59 and AQuA's row are not.
    found = overlap(arithmetic(data, seed=3))
    assert {name: each.same for name, each in found.items()} == {"AddSub": 10, "AQuA": 0}


def test_too_few_rows_to_hold_out(tmp_path: Path) -> None:
    write(tmp_path, "train/math_data.json", [row(i) for i in range(4)])
    write(tmp_path, "eval/AddSub/test.json", [row(9)])
    with pytest.raises(DataError, match=r"math_data.json has too few rows.*at least 5"):
        arithmetic(tmp_path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a directory"):
        arithmetic(tmp_path / "nowhere")


def test_no_training_file(tmp_path: Path) -> None:
    write(tmp_path, "eval/AddSub/test.json", [row(9)])
    with pytest.raises(DataError, match=r"no training file.*ft-training_set/math_50k.json, train"):
        arithmetic(tmp_path)


def test_no_test_file(tmp_path: Path) -> None:
    write(tmp_path, "train/math_data.json", [row(i) for i in range(10)])
    with pytest.raises(DataError, match=r"no test file.*eval/MultiArith/test.json"):
        arithmetic(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"instruction": None}, "has no instruction"),
        ({"instruction": " \n"}, "has no instruction"),
        ({"instruction": 7}, "has a number as instruction"),
        ({"answer": None}, "has no answer"),
        ({"answer": "  "}, "has no answer"),
        ({"answer": True}, "has true or false as answer"),
        ({"answer": ["4"]}, "has an array as answer"),
        ({"answer": "four"}, "has the answer 'four'; wanted a number"),
        ({"answer": float("nan")}, "has the answer 'nan'; wanted a number"),
        ({"input": 3}, "has a number as input"),
        ({"output": {}}, "has an object as output"),
        ({"output": "lone \ud800"}, "has text in output that is not UTF-8"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    file = write(tmp_path, "rows.json", [row(1), row(2) | fields, row(3)])
    with pytest.raises(DataError, match=rf"rows\.json, row 2 {message}"):
        read_examples(file, NUMBERS)


@pytest.mark.parametrize("field", ["instruction", "answer"])
def test_an_absent_field_is_named(tmp_path: Path, field: str) -> None:
    bad = {key: value for key, value in row(1).items() if key != field}
    with pytest.raises(DataError, match=rf"rows\.json, row 1 has no {field}"):
        read_examples(write(tmp_path, "rows.json", [bad]), NUMBERS)


def test_a_row_that_is_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2 is text; wanted an object"):
        read_examples(write(tmp_path, "rows.json", [row(1), "How many?"]), NUMBERS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'[{"instruction": "cut', "is not JSON"),
        (b'{"instruction": "one line"}\n{"instruction": "per row"}', "is not JSON"),
        (json.dumps([row(1)]).encode("utf-16"), "is not JSON in UTF-8"),
        (b"{}", "holds an object"),
        (b"[]", "holds an empty array"),
        (b"null", "holds null"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_no_array_of_rows(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"rows\.json {message}.*wanted one JSON array"):
        read_examples(file, NUMBERS)


def test_bytes_that_are_not_utf8_are_named_by_row(tmp_path: Path) -> None:
    rows = [row(1), row(2, instruction="Caf\u00e9 ?")]
    file = tmp_path / "rows.json"
    file.write_bytes(json.dumps(rows, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(DataError, match="row 2 has text in instruction that is not UTF-8"):
        read_examples(file, NUMBERS)


def test_what_published_files_vary_in_is_accepted(tmp_path: Path) -> None:
    rows = [row(1, 18), row(2, 18.5), row(3, " 1,200 "), row(4, output="\n"), {**row(5)}]
    del rows[4]["output"], rows[4]["input"]
    file = tmp_path / "rows.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows).encode())
    examples = read_examples(file, NUMBERS)
    assert [e.answer for e in examples] == ["18", "18.5", "1,200", "4.0", "5.0"]
    assert [e.completion for e in examples[2:]] == [
        "A: 3.", "The answer is 4.0.", "The answer is 5.0.",
    ]  # fmt: skip


def test_an_input_gets_its_own_section(tmp_path: Path) -> None:
    file = write(tmp_path, "rows.json", [row(1, input="Tom has 3 apples.")])
    assert read_examples(file, NUMBERS)[0].prompt.endswith(
        "appropriately completes the request.\n\n### Instruction:\nHow many are 1 apples ?\n\n"
        "### Input:\nTom has 3 apples.\n\n### Response:\n"
    )


def test_a_second_response_section_is_not_scored(data: Path) -> None:
    text = "The answer is 4.\n\n### Response:\nThe answer is 5."
    assert first_response(text) == "The answer is 4.\n\n"
    scorer = arithmetic(data).validation.scorer
    assert scorer.is_correct(text, "4.0")
    assert not scorer.is_correct(text, "5.0")
