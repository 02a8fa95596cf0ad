"""A user's own task: declared once, loaded the same in every process, and judged as it says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from perft.errors import ConfigError, DataError
from perft.tasks import OwnTask, Task, TaskSource, load_task

ROWS = [
    {"question": f"{i} and 1?", "right": i % 3, "options": ["no", "maybe", "yes"], "sum": i + 1}
    for i in range(20)
]
JUDGE = "def ends(text, label):\n    return text.endswith(label)\n\nseven = 7\n"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def own(tmp_path: Path) -> OwnTask:
    return OwnTask(
        name="sums",
        train=write(tmp_path / "train.jsonl", ROWS),
        test=write(tmp_path / "test.parquet", ROWS[:3]),
        prompt="Q: {question} A:",
        answer="sum",
        scorer="numeric",
    )


def load(own: OwnTask) -> Task:
    """Loads the task as another process would."""
    flat = json.loads(json.dumps(own.to_json()))
    return load_task(TaskSource(name=own.name, validation_size=4, own=flat, trust_code=True))


def changed(own: OwnTask, **changes: Any) -> Task:
    return load(dataclasses.replace(own, **changes))


def test_rows_become_prompts_and_completions(own: OwnTask) -> None:
    task = load(own)
    assert (len(task.train.examples), len(task.validation.examples)) == (16, 4)
    (test,) = task.tests
    example = test.examples[2]
    assert (example.prompt, example.completion, example.answer) == ("Q: 2 and 1? A:", " 3", "3")
    assert test.scorer.is_correct("2 + 1 = 3.0", "3")
    assert test.scorer.protocol == "own task sums: numeric, greedy, 32 tokens"


def test_the_kind_of_file_does_not_matter(own: OwnTask, tmp_path: Path) -> None:
    same = changed(own, train=write(tmp_path / "train.parquet", ROWS))
    assert same.fingerprint == load(own).fingerprint


def test_a_completion_of_ones_own(own: OwnTask) -> None:
    task = changed(own, completion=" Since {question} it is {sum}.")
    assert task.tests[0].examples[1].completion == " Since 1 and 1? it is 2."


def test_exact(own: OwnTask) -> None:
    scorer = changed(own, scorer="exact").validation.scorer
    assert scorer.is_correct(" 3\n", "3")
    assert not scorer.is_correct("3.0", "3")
    assert not scorer.is_correct(" ", "")


def test_choices_of_the_row_by_place_or_text(own: OwnTask, tmp_path: Path) -> None:
    settings = {"scorer": "choice", "answer": "right", "choices": "options"}
    task = changed(own, **settings)
    example = task.tests[0].examples[2]
    assert (example.completion, example.answer) == (" yes", "yes")
    assert example.choices == (" no", " maybe", " yes")
    named = [row | {"right": row["options"][row["right"]]} for row in ROWS]
    other = changed(own, **settings, train=write(tmp_path / "named.jsonl", named))
    assert other.fingerprint == task.fingerprint


def test_choices_for_all_rows(own: OwnTask) -> None:
    settings = {"scorer": "choice", "answer": "right", "choices": ("no", "maybe", "yes")}
    example = changed(own, **settings, completion=" So: {right}.").tests[0].examples[1]
    assert (example.completion, example.answer) == (" So: maybe.", "maybe")
    assert example.choices == (" So: no.", " So: maybe.", " So: yes.")


def test_loss_only_generates_nothing(own: OwnTask) -> None:
    scorer = changed(own, scorer="loss only").validation.scorer
    assert (scorer.generates, scorer.protocol) == (False, "loss only")


def test_a_function_scores_by_its_file_and_name(own: OwnTask, tmp_path: Path) -> None:
    file = tmp_path / "judge.py"
    file.write_text(JUDGE)
    flat = own.to_json() | {"scorer": [str(file), "ends"]}
    with pytest.raises(ConfigError, match=r"judge\.py, code that is not trusted"):
        OwnTask.from_json(flat)
    again = OwnTask.from_json(flat, trust_code=True)
    assert again.to_json() == flat
    scorer = load(again).validation.scorer
    assert scorer.is_correct("it is 3", "3")
    assert not scorer.is_correct("3 it is", "3")
    assert "ends" in scorer.protocol
    for name in ("gone", "seven"):
        with pytest.raises(ConfigError, match=rf"judge\.py has no function {name} any more"):
            OwnTask.from_json(flat | {"scorer": [str(file), name]}, trust_code=True)
    with pytest.raises(ConfigError, match=r"none\.py is no file here"):
        OwnTask.from_json(flat | {"scorer": [str(tmp_path / "none.py"), "ends"]}, trust_code=True)


def test_paths_are_kept_absolute(
    own: OwnTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = dataclasses.replace(own, train="train.jsonl", test=Path("test.parquet"))
    assert relative.to_json() == own.to_json()


def test_a_local_dataset_is_kept_absolute_with_its_split(
    own: OwnTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy").mkdir()
    flat = dataclasses.replace(own, train="copy:sums[train]", test="org/name[test]").to_json()
    assert (flat["train"], flat["test"]) == (f"{tmp_path}/copy:sums[train]", "org/name[test]")


def test_a_dataset_id_with_configuration_and_split(
    own: OwnTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def dataset(place: str, config: str | None, *, split: str) -> datasets.Dataset:
        asked.append((place, config, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", dataset)
    task = changed(own, train="some/where:sums[train[:50%]+extra]", test="some/where")
    assert asked == [("some/where", "sums", "train[:50%]+extra"), ("some/where", None, "test")]
    assert task.train == load(own).train


def test_a_local_folder_as_a_dataset(own: OwnTask, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    write(folder / "train.jsonl", ROWS)
    assert changed(own, train=folder).train == load(own).train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorer": "exakt"}, "unknown scorer 'exakt'; did you mean 'exact'"),
        ({"scorer": "choice"}, 'the scorer "choice" and choices belong together'),
        ({"choices": ("a", "b")}, 'the scorer "choice" and choices belong together'),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1, found 0"),
        ({"prompt": "Say it."}, "the prompt 'Say it.' names no column"),
        ({"prompt": "{}"}, "name a column in every pair of braces"),
        ({"prompt": "{0}"}, "name a column in every pair of braces"),
        (
            {"prompt": "{question.real}"},
            "'{question.real}' is more than the plain name",
        ),
        ({"prompt": "{question[0]}"}, "'{question.0.}' is more than the plain name of a column"),
        ({"prompt": "{question!r}"}, "'{question!r}' is more than the plain name of a column"),
        ({"prompt": "{question:>9999999999}"}, "is more than the plain name of a column"),
        ({"prompt": "{question:{sum}}"}, "'{question:{sum}}' is more than the plain name"),
        ({"completion": "{sum.real}"}, "completion: '{sum.real}' is more than the plain name"),
        ({"prompt": 7}, "prompt must be a text that is not blank, found 7"),
        ({"answer": ["sum"]}, "answer must be a text that is not blank"),
        ({"name": "a\nb"}, "the name of a task must be printable text in one line"),
        ({"train": 3}, "train must be a text that is not blank, found 3"),
        ({"max_new_tokens": 10**30}, "max_new_tokens must be at most 65,536"),
        ({"scorer": lambda text, label: True}, "must be a function of a module, defined by def"),
        ({"prompt": "{question"}, "is no template: .*double a brace"),
        ({"train": "some[where"}, "'some.where' is neither a file"),
    ],
)
def test_a_declaration_that_makes_no_sense(
    own: OwnTask, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(own, **changes)


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"question": None}, {}, r"row 2 has no question.*columns: question, right, options, sum"),
        ({"sum": "four"}, {}, "row 2 has the answer 'four'; wanted a number"),
        ({"sum": ""}, {}, "row 2 has no sum"),
        ({"right": 3}, {"scorer": "choice"}, "row 2 has the answer 3; wanted 0 to 2"),
        ({"right": -1}, {"scorer": "choice"}, "row 2 has the answer -1; wanted 0 to 2"),
        ({"right": "si"}, {"scorer": "choice"}, r"row 2 has the answer 'si'; wanted one of \['no'"),
        ({"options": "no"}, {"scorer": "choice"}, "row 2 has no list of texts in options"),
        ({"options": [1]}, {"scorer": "choice"}, "row 2 has no list of texts in options"),
    ],
)
def test_a_bad_row_is_named(
    own: OwnTask, tmp_path: Path, row: Any, settings: Any, message: str
) -> None:
    if settings:
        settings = settings | {"answer": "right", "choices": "options"}
    file = write(tmp_path / "bad.jsonl", [ROWS[0], ROWS[1] | row, *ROWS[2:]])
    with pytest.raises(DataError, match=rf"bad\.jsonl, {message}"):
        changed(own, **settings, train=file)


def test_too_few_rows(own: OwnTask, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"few\.jsonl has too few rows to hold out a fifth"):
        changed(own, train=write(tmp_path / "few.jsonl", ROWS[:4]))
