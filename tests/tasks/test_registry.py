"""Finding a task by its name, before any worker starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perft.errors import ConfigError, DataError
from perft.tasks import TASKS, TaskSource, check_source, load_task


def test_known_names() -> None:
    assert TASKS == (
        "arithmetic", "multiarith", "gsm8k", "addsub", "aqua", "singleeq", "svamp",
        "commonsense", "boolq", "piqa", "social_i_qa", "hellaswag", "winogrande", "arc-easy",
        "arc-challenge", "openbookqa", "preferences",
    )  # fmt: skip


def test_an_unknown_task_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown task 'AdSub'; did you mean 'addsub'"):
        check_source(TaskSource(name="AdSub"))


def test_a_benchmark_is_not_builtin() -> None:
    with pytest.raises(ConfigError, match="task 'gsm8k' needs a data directory"):
        load_task(TaskSource(name="gsm8k"))


def test_validation_needs_an_example() -> None:
    with pytest.raises(ConfigError, match="validation_size must be at least 1, found 0"):
        check_source(TaskSource(name="arithmetic", validation_size=0))


def test_the_builtin_task_follows_the_source() -> None:
    source = TaskSource(name="Arithmetic", validation_size=30, seed=5)
    task = load_task(source)
    assert (task.name, len(task.validation.examples)) == ("arithmetic", 30)
    assert task.fingerprint == load_task(source).fingerprint
    assert task.train.examples
    assert task.tests


def test_checking_reads_every_row(tmp_path: Path) -> None:
    rows = [{"instruction": f"{i} + 1 ?", "answer": i + 1} for i in range(10)]
    for path in ("train/math_data.json", "eval/AddSub/test.json"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(json.dumps(rows))
    source = TaskSource(name="arithmetic", data=str(tmp_path))
    check_source(source)
    del rows[9]["answer"]
    (tmp_path / "eval/AddSub/test.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"AddSub/test\.json, row 10 has no answer"):
        check_source(source)


def test_tasks_do_not_import_torch() -> None:
    code = (
        "import sys, perft.tasks, perft.tasks.tokenize; from perft.tasks import TaskSource; "
        "perft.tasks.load_task(TaskSource(name='arithmetic', validation_size=5)); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
