"""A search over a user's own task that scores no answers: its front is of the validation loss."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from books import results
from searches import REPOSITORY, SEARCH, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SIZE = ("--num-trials", "3", "--max-steps", "8", "--validation-size", "10", "--groups", "1")


def test_a_task_without_answers_is_searched_by_its_loss(
    tmp_path: Path, start: Callable[..., Job]
) -> None:
    example = shutil.copytree(REPOSITORY / "docs" / "examples" / "own_task", tmp_path / "own")
    space = example / "space.py"
    text = space.read_text()
    assert 'scorer="numeric"' in text
    space.write_text(text.replace('scorer="numeric"', 'scorer="loss only"'))
    job = start(*SEARCH, "--space", str(space), *SIZE, "--name", "own")
    assert job.end() == 0, job.errors
    assert "Pareto front: validation loss, activated PEFT parameters" in job.output
    assert "accuracy" not in job.output
    assert re.search(r"base +loss \d", job.output)
    found = results(job.home, "own")
    assert len(found) == 3
    best = min(trial.last.val_loss for trial in found.values() if trial.outcome == "complete")
    assert f"loss {best:.4f}" in job.output.partition("Pareto front")[2]
    exported = start("jobs/export.py", "--name", "own", "--out", str(tmp_path / "adapter"))
    assert exported.end() == 0, exported.errors
    assert f"validation loss {best:.4f}" in exported.output
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert f"Validation loss {best:.4f} nats per token" in card
