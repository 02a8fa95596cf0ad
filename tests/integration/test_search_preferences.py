"""A search on the built-in pairs of answers, by DPO: its adapters prefer better than the base."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from books import results
from searches import SEARCH, Job

from perft.config import SingleConfig
from perft.forward import AdapterBatch, row_losses
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.tasks import TaskSource, load_task
from perft.tasks.tokenize import tokenize_pairs

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

PAIRS = 60
SIZE = ("--num-trials", "3", "--max-steps", "30", "--validation-size", str(PAIRS))


def choices_of_the_base() -> int:
    """Validation pairs of which the base alone finds the chosen answer likelier."""
    base, task = load_base(), load_task(TaskSource(name="preferences", validation_size=PAIRS))
    host = AdapterHost(base.model)
    host.add("no-op", SingleConfig(rank=1))
    rows = tokenize_pairs(task.validation.examples, base.tokenizer, base.positions)
    part = AdapterBatch([rows.row(i) for i in range(len(rows))])
    pad = base.tokenizer.pad_token_id
    with torch.no_grad():
        losses = row_losses(host, pad, {"no-op": part})["no-op"].view(-1, 2)
    return int((losses[:, 0] < losses[:, 1]).sum())


def test_a_search_on_pairs_ends_with_adapters_that_prefer_better_than_the_base(
    tmp_path: Path, start: Callable[..., Job]
) -> None:
    # Which trials are drawn, and stopped, is not the question: one that learns must run to its end.
    plain = ("--sampler", "random", "--pruner", "none", "--tracker", "folder", "--groups", "1")
    job = start(*SEARCH, "--space", "preferences", *SIZE, *plain, "--name", "pairs")
    assert job.end() == 0, job.errors
    assert "Pareto front: validation accuracy" in job.output
    assert "50.0% (by definition)" in job.output
    found = results(job.home, "pairs")
    best = max(
        (trial for trial in found.values() if trial.outcome == "complete"),
        key=lambda trial: trial.last.accuracy,
    )
    assert best.config.training.objective == "dpo"
    assert best.last.scored == PAIRS
    assert best.last.correct > choices_of_the_base() + 6  # more than a tenth of all
    assert best.last.measures["reward_margin"] > 0
    assert f"beta {best.config.training.beta:.2g}" in job.output
    adapter = tmp_path / "adapter"
    exported = start("jobs/export.py", "--name", "pairs", "--out", str(adapter), "--pick", "best")
    assert exported.end() == 0, exported.errors
    record = json.loads((adapter / "adapter_config.json").read_text())["perft"]["trained_on"]
    assert record["name"] == "preferences"
