"""Rows, files and templates of data with something wrong: a task, or one error with its place."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from faults import WRONG, breaks, cases
from pyarrow import parquet
from verdict import Verdicts, refusal

from perft.errors import ConfigError
from perft.tasks import GROUPS, OwnTask, Task, TaskSource, load_task, overlap
from perft.tasks.rows import MAX_CHARACTERS

FAST = 150
LABELS = {"boolq": "true", "piqa": "solution1", "winogrande": "option2", "hellaswag": "ending3"}
NUMERIC = {"MultiArith", "gsm8k", "AddSub", "SingleEq", "SVAMP"}
BENCHMARKS = [benchmark.name for group in GROUPS for benchmark in group.benchmarks]


def use(task: Task) -> None:
    """As training and scoring use a task."""
    assert len(task.fingerprint) == 64
    overlap(task)
    for split in (task.train, task.validation, *task.tests):
        assert split.examples
        for example in split.examples:
            (example.prompt + example.completion + example.answer).encode()
            split.scorer.is_correct(example.completion, example.answer)


def label_of(benchmark: str) -> str:
    if benchmark in NUMERIC:
        return "7"
    return "B" if benchmark == "AQuA" else LABELS.get(benchmark, "answer1")


def rows_of(benchmark: str) -> list[dict[str, Any]]:
    label = label_of(benchmark)
    return [
        {"instruction": f"How many {n}?", "input": "", "output": f"It is {label}", "answer": label}
        for n in range(12)
    ]


def layout(folder: Path, benchmark: str) -> tuple[Path, Path]:
    train = folder / "dataset" / benchmark / "train.json"
    test = train.with_name("test.json")
    train.parent.mkdir(parents=True, exist_ok=True)
    for file in (train, test):
        file.write_text(json.dumps(rows_of(benchmark)))
    return train, test


@pytest.mark.parametrize("count", [12, pytest.param(None, marks=pytest.mark.slow)])
def test_no_row_of_a_benchmark_is_taken_for_what_it_is_not(
    tmp_path: Path, count: int | None
) -> None:
    verdicts = Verdicts()
    for benchmark in BENCHMARKS:
        train, test = layout(tmp_path, benchmark)
        source = TaskSource(name=benchmark, data=str(tmp_path), validation_size=2)
        assert refusal(lambda source=source: use(load_task(source))) == ""
        for file in (train, test):
            whole = file.read_text()
            for case in cases(json.loads(whole)[:1], 4, count):
                rest = json.dumps(json.loads(whole)[1:])[1:]
                file.write_text(f"{case.text[:-1]}, {rest}" if case.field else case.text)
                verdicts.judge(
                    f"{benchmark}/{file.name}: {case.what}",
                    lambda source=source: use(load_task(source)),
                    file.name,
                )
            file.write_text(whole)
    verdicts.conclude(least=50)


def own(folder: Path, **changes: Any) -> OwnTask:
    return OwnTask(
        **{
            "name": "mine", "train": folder / "train.jsonl", "test": folder / "test.json",
            "prompt": "{q} of {p}?", "answer": "a", "scorer": "choice", "choices": "c",
            "completion": "It is {a}.", **changes,
        }
    )  # fmt: skip


def loaded(task: OwnTask) -> Task:
    flat = json.loads(json.dumps(task.to_json()))
    return load_task(TaskSource(name=task.name, validation_size=2, own=flat))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"q": f"Which {n}", "p": n, "a": n % 2, "c": ["no", "yes"]} for n in range(12)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "test.json").write_text(json.dumps(rows))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return tmp_path


@pytest.mark.parametrize("count", [FAST, pytest.param(None, marks=pytest.mark.slow)])
def test_no_row_of_an_own_task_is_taken_for_what_it_is_not(folder: Path, count: int | None) -> None:
    lines = (folder / "train.jsonl").read_text().split("\n")
    use(loaded(own(folder)))
    verdicts = Verdicts()
    for case in cases(json.loads(lines[0]), 5, count):
        (folder / "train.jsonl").write_text("\n".join([case.text, *lines[1:]]))
        verdicts.judge(case.what, lambda: use(loaded(own(folder))), "train.jsonl, row 1")
    verdicts.conclude(least=20)


def test_no_declaration_is_taken_for_what_it_is_not(folder: Path) -> None:
    verdicts = Verdicts()
    for field in ("name", "prompt", "answer", "scorer", "choices", "completion", "max_new_tokens"):
        for value in WRONG:
            verdicts.judge(
                f"{field}={value!r:.60}",
                lambda field=field, value=value: use(loaded(own(folder, **{field: value}))),
            )
    for value in WRONG:
        if not isinstance(value, str) or value in ("", " ", "\ud800", "\x00", "a\nb", "..", "[x"):
            verdicts.judge(
                f"train={value!r:.60}", lambda value=value: use(loaded(own(folder, train=value)))
            )
    verdicts.conclude(least=200)


@pytest.mark.parametrize(
    "template",
    [
        "{q.x}", "{q[0]}", "{q!r}", "{q!s:x}", "{q:>99999999999}", "{q:{p}}", "{}", "{0}", "{q",
        "q}", "{{q}}", "{q.__class__.__mro__}", "{q[x]}", "{q}{", "{!r}", "{:x}", "{ }",
    ],
)  # fmt: skip
def test_a_template_takes_plain_names_only(folder: Path, template: str) -> None:
    for field in ("prompt", "completion"):
        if (field, template) != ("completion", "{{q}}"):  # a text in braces
            with pytest.raises(ConfigError, match=field):
                own(folder, **{field: template})


def test_templates_do_not_multiply_without_end(folder: Path) -> None:
    rows = [{"q": f"{n}" + "x" * 10_000, "p": n, "a": 0, "c": ["no", "yes"]} for n in range(12)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = refusal(lambda: loaded(own(folder, prompt="{q}" * 1000)))
    assert "train.jsonl, row 1 has 10,001,000 characters in its template" in said


@pytest.mark.parametrize("name", ["train.jsonl", "test.json", "train.parquet"])
@pytest.mark.parametrize("how", sorted(breaks()))
def test_a_broken_file_of_data_is_refused(folder: Path, name: str, how: str) -> None:
    task = own(folder, train=folder / name) if "train" in name else own(folder)
    breaks()[how](folder / name)
    said = refusal(lambda: use(loaded(task)))
    may_be_whole = how == "unreadable"
    assert name in said or may_be_whole or (how, "/dev/zero" in said) == ("device", True)


MAKE: dict[str, Callable[[list[str]], bytes]] = {
    "a BOM": lambda lines: b"\xef\xbb\xbf" + "\n".join(lines).encode(),
    "CRLF": lambda lines: "\r\n".join(lines).encode(),
    "blank lines": lambda lines: "\n\n \n".join(lines).encode(),
    "the same rows twice": lambda lines: "\n".join(lines * 2).encode(),
    "NUL in a text": lambda lines: "\n".join(lines).replace("Which 3", "Which\\u0000 3").encode(),
}
SPOIL: dict[str, Callable[[list[str]], bytes]] = {
    "no row": lambda lines: b"",
    "one row": lambda lines: lines[0].encode(),
    "rows of other columns": lambda lines: b'{"x": 1}\n' * 12,
    "Latin-1": lambda lines: "\n".join(lines).replace("Which", "Wélch").encode("latin-1"),
    "a lone surrogate": lambda lines: "\n".join(lines).replace("Which", "\\ud800").encode(),
    "a surrogate in a choice": lambda lines: "\n".join(lines).replace("yes", "\\ud800").encode(),
    "an endless cell": lambda lines: "\n".join(lines).replace("Which", "x" * 10**7).encode(),
    "10 MB without a line": lambda lines: Random(0).randbytes(10**7).replace(b"\n", b""),
    "the same row only": lambda lines: "\n".join(lines[:1] * 12).encode(),
    "a list": lambda lines: f"[{','.join(lines)}]".encode(),
}


@pytest.mark.parametrize("how", sorted(MAKE))
def test_other_forms_of_data_are_read(folder: Path, how: str) -> None:
    file = folder / "train.jsonl"
    lines = file.read_text().split("\n")
    file.write_bytes(MAKE[how](lines))
    assert refusal(lambda: use(loaded(own(folder)))) == ""


@pytest.mark.parametrize("how", sorted(SPOIL))
def test_spoilt_data_are_named(folder: Path, how: str) -> None:
    file = folder / "train.jsonl"
    lines = file.read_text().split("\n")
    file.write_bytes(SPOIL[how](lines))
    assert "train.jsonl" in refusal(lambda: use(loaded(own(folder))))
    assert MAX_CHARACTERS < 10**7
