"""lm-evaluation-harness and perft give an adapter the same answers and the same scores."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.calling import call
from perft.checkpoint import load_adapter
from perft.evaluation.score import Prediction
from perft.evaluation.splits import predict_split
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.models.source import BUILTIN
from perft.searching.space import find_space
from perft.tasks import OwnTask, TaskSource, load_task
from perft.tasks.scoring import Scoring

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "own_task"
LIMIT = 16
CHOICES = """
task: larger-number-choices
dataset_path: json
dataset_kwargs: {data_files: {test: test.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Which is larger, {{a}} or {{b}}?"
doc_to_choice: "{{[a|string, b|string]}}"
doc_to_target: "{{[a, b].index(larger)}}"
metric_list:
  - metric: acc
"""


@pytest.mark.slow
def test_answers_and_scores_are_those_of_perft(tmp_path: Path) -> None:
    adapter, tasks = tmp_path / "adapter", tmp_path / "tasks"
    trained = ("--variant", "perft-s", "--rank", "8", "--max-steps", "24", "--validation-size", "8")
    space = str(EXAMPLE / "space.py")
    done = call("train", "--space", space, *trained, "--out", str(adapter))
    assert done.status == 0, done
    shutil.copytree(EXAMPLE, tasks)
    (tasks / "choices.yaml").write_text(CHOICES)
    generated, chosen = samples(adapter, tasks, tmp_path / "scores")
    own = find_space(space).task
    assert isinstance(own, OwnTask)
    expected = predictions(adapter, own, "generation")
    assert [sample["resps"][0][0] for sample in generated] == [each.output for each in expected]
    right = [each.correct for each in expected]
    assert [bool(sample["exact_match"]) for sample in generated] == right
    assert any(right), "an adapter that is never right proves little"
    rows = [json.loads(line) for line in (tasks / "test.jsonl").read_text().splitlines()]
    with_choices = [
        row | {"larger": str(row["larger"]), "choices": [str(row["a"]), str(row["b"])]}
        for row in rows
    ]
    file = tasks / "choices.jsonl"
    file.write_text("\n".join(map(json.dumps, with_choices)))
    by_choice = replace(own, scorer="choice", choices="choices", train=file, test=file)
    likeliest = predictions(adapter, by_choice, "likelihood")
    assert [bool(sample["acc"]) for sample in chosen] == [each.correct for each in likeliest]


def samples(
    adapter: Path, tasks: Path, out: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the harness notes of each example, of both tasks."""
    command = [
        sys.executable, "-m", "perft.lm_eval", "--model", "hf", "--device", "cpu",
        "--model_args", f"pretrained={BUILTIN},peft={adapter},dtype=float32",
        "--batch_size", "16", "--include_path", ".",
        "--tasks", "larger-number,larger-number-choices",
        "--limit", str(LIMIT), "--log_samples", "--output_path", str(out),
    ]  # fmt: skip
    home = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(out / "cache")}
    done = subprocess.run(command, cwd=tasks, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [
        [json.loads(line) for line in file.read_text().splitlines()]
        for name in ("larger-number_2", "larger-number-choices_2")
        for file in out.rglob(f"samples_{name}*.jsonl")
    ]
    generated, chosen = (sorted(each, key=lambda sample: sample["doc_id"]) for each in found)
    return generated, chosen


def predictions(adapter: Path, own: OwnTask, scoring: Scoring) -> Sequence[Prediction]:
    """What perft predicts of the first test examples."""
    (test,) = load_task(TaskSource(name=own.name, own=own.to_json())).tests
    base = load_base(None, device=torch.device("cpu"), dtype="float32", compile=False)
    host = AdapterHost(base.model)
    load_adapter(host, adapter, name="adapter")
    split = replace(test, examples=test.examples[:LIMIT])
    return predict_split(base, host, ["adapter"], split, scoring)["adapter"]
