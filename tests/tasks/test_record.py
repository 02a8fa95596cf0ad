"""What an adapter's folder says of its task: enough to score it elsewhere, and no place."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from perft.errors import AdapterError, ConfigError
from perft.tasks import (
    OwnTask,
    TaskSource,
    code_files,
    code_of,
    from_record,
    load_task,
    load_test,
    root_of,
    to_record,
    without_code,
)

ROWS = "\n".join(json.dumps({"q": f"{i}?", "a": str(i)}) for i in range(20))
PRINT = "d" * 64
JUDGE = """
from pathlib import Path

Path(__file__).with_name("ran").touch()


def ends(text, label):
    return text.endswith(label)
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder of a task on the machine that trains on it."""
    folder = tmp_path / "maker" / "mine"
    (folder / "data").mkdir(parents=True)
    (folder / "judge.py").write_text(JUDGE)
    for name in ("train.jsonl", "test.jsonl"):
        (folder / "data" / name).write_text(ROWS)
    return folder


def source(here: Path, **changes: Any) -> TaskSource:
    """The task as a search on that machine has it, scored by a function."""
    own = OwnTask(
        name="mine", train=here / "data" / "train.jsonl", test=here / "data" / "test.jsonl",
        prompt="{q}", answer="a", scorer="exact",
    ).to_json()  # fmt: skip
    own |= {"scorer": [str(here / "judge.py"), "ends"]} | changes
    return TaskSource(name="mine", validation_size=4, seed=3, own=own, trust_code=True)


def recorded(task: TaskSource) -> dict[str, Any]:
    record = json.loads(json.dumps(to_record(task, PRINT)))
    assert isinstance(record, dict)
    return record


def test_a_record_holds_no_place_and_works_elsewhere(here: Path, tmp_path: Path) -> None:
    record = recorded(source(here))
    assert str(tmp_path) not in json.dumps(record)
    assert record["own"]["scorer"] == ["./judge.py", "ends"]
    elsewhere = here.rename(tmp_path / "elsewhere")
    again = from_record(record, elsewhere, tmp_path)
    assert code_of(again) == (str(elsewhere / "judge.py"), "ends")
    assert load_task(without_code(again)).validation.scorer.protocol.startswith("own task mine: ex")
    assert root_of(again) == elsewhere


def test_what_is_read_is_what_was_written(here: Path, tmp_path: Path) -> None:
    task = source(here, scorer="exact")
    again = from_record(recorded(task), root_of(task), tmp_path)
    assert again.own == task.own
    assert (again.validation_size, again.seed) == (4, 3)
    assert load_task(again).fingerprint == load_task(task).fingerprint


def test_no_record_is_trusted_to_run_code(here: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="unknown field 'trust_code'"):
        from_record(recorded(source(here)) | {"trust_code": True}, here, tmp_path)
    again = from_record(recorded(source(here)), here, tmp_path)
    with pytest.raises(ConfigError, match=r"scored by ends of .*judge\.py, code that is not"):
        load_task(again)
    load_task(without_code(again))
    assert not (here / "ran").exists()


def test_the_code_that_lies_beside_the_adapter_scores(here: Path, tmp_path: Path) -> None:
    task = source(here)
    for name, data in code_files(task).items():
        (tmp_path / name).write_bytes(data)
    again = from_record(recorded(task), here, tmp_path)
    assert code_of(again) == (str(tmp_path / "scorer.py"), "ends")
    trusted = dataclasses.replace(again, trust_code=True)
    assert load_task(trusted).fingerprint == load_task(task).fingerprint
    assert code_files(without_code(task)) == {}
    (here / "judge.py").unlink()
    assert code_files(task) == {}


def test_one_file_is_scored_without_the_others(here: Path, tmp_path: Path) -> None:
    task = source(here)
    rows = (here / "data" / "test.jsonl").rename(tmp_path / "mine.jsonl")
    (here / "data" / "train.jsonl").unlink()
    again = without_code(from_record(recorded(task), None, tmp_path, only=rows))
    split = load_test(again)
    assert [example.prompt for example in split.examples] == [f"{i}?" for i in range(20)]
    assert split.scorer.is_correct(" 7", "7")


def test_files_that_lie_beside_the_adapter_are_found(here: Path) -> None:
    assert load_task(without_code(from_record(recorded(source(here)), None, here))).tests


def test_files_that_are_missing_are_named(here: Path, tmp_path: Path) -> None:
    message = r"files of the task 'mine' that are not in .*: train\.jsonl and test\.jsonl; name"
    with pytest.raises(AdapterError, match=message):
        from_record(recorded(source(here)), None, tmp_path)


def test_files_with_nothing_in_common_go_by_their_names(here: Path) -> None:
    record = recorded(source(here, test="/nowhere/else/test.jsonl"))
    assert record["own"]["train"] == "./train.jsonl"
    assert record["own"]["test"] == "./test.jsonl"
    assert record["own"]["scorer"] == ["./judge.py", "ends"]


def test_datasets_keep_their_ids(here: Path) -> None:
    record = recorded(source(here, train="org/name:config[train]", test=f"{here}/data:x[test]"))
    assert record["own"]["train"] == "org/name:config[train]"
    assert record["own"]["test"] == "./data:x[test]"


def test_a_directory_of_known_data_goes_by_its_name(here: Path, tmp_path: Path) -> None:
    record = recorded(TaskSource(name="boolq", data=str(here)))
    assert record["data"] == "./mine"
    assert from_record(record, here, tmp_path).data == str(here)
    with pytest.raises(AdapterError, match=r"trained on the data 'mine'; say where they are: --d"):
        from_record(record, None, tmp_path)
    for data in ("hub", None):
        assert recorded(TaskSource(name="boolq", data=data))["data"] == data


@pytest.mark.parametrize(
    "changes",
    [
        {"own": {}},
        {"own": 3},
        {"name": None, "own": {"scorer": []}},
        {"validation_size": "many"},
        {"data": 3, "own": None},
        {"own": {"train": "./../secret.jsonl"}},
        {"own": {"train": "../secret.jsonl"}},
        {"own": {"train": "/secret.jsonl"}},
        {"own": {"train": "secret.jsonl"}},
        {"own": {"prompt": "{q.__class__}"}},
        {"data": "/somewhere", "own": None},
        {"own": {"scorer": [1, 2]}},
        {"own": {"train": ["x"]}},
        {"own": {"choices": 3}},
        {"own": {"unknown": 3}},
    ],
)
def test_a_damaged_record_is_one_line(here: Path, changes: dict[str, Any]) -> None:
    record = recorded(source(here))
    own = changes.get("own")
    if isinstance(own, dict) and own:
        changes = changes | {"own": record["own"] | own}
    with pytest.raises(AdapterError, match=r"is damaged: what it was trained on") as damaged:
        from_record(record | changes, here, here)
    assert "\n" not in str(damaged.value)
