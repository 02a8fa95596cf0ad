"""A search that its own folder shows, where there is no MLflow."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from searches import SEARCH, SPACE, Job

from perft.selection import read_all_scores, read_results
from perft.storage import Storage

SIZE = ("--num-trials", "3", "--max-steps", "4", "--validation-size", "8", "--groups", "1")


@pytest.mark.ray
def test_a_search_runs_and_is_shown_without_mlflow(start: Callable[..., Job], tmp_path: Path):
    gone = tmp_path / "gone" / "mlflow"
    gone.mkdir(parents=True)
    (gone / "__init__.py").write_text("raise ImportError('this machine has no MLflow')")
    options = ("--tracker", "folder", "--name", "first")
    job = start(*SEARCH, *SPACE, *SIZE, *options, environment={"PYTHONPATH": str(gone.parent)})
    assert job.end() == 0, job.errors
    folder = job.home / "searches/first"
    assert f"look:    {folder}/tracked" in job.output
    assert not (job.home / "mlflow.db").exists()

    search = Storage(str(folder))
    results = read_results(search)
    trials = pd.read_parquet(folder / "tracked/trials.parquet")
    assert trials["outcome"].tolist() == [result.outcome for result in results]
    assert trials["val_loss"].tolist() == [result.last.val_loss for result in results]
    assert set(trials["status"]) == {"FINISHED"}
    ((number, scores),) = read_all_scores(search).items()
    for split, (correct, scored) in scores.items():
        row = trials.set_index("number").loc[number]
        assert (row[f"test_correct/{split}"], row[f"test_scored/{split}"]) == (correct, scored)
    curves = pd.read_parquet(folder / "tracked/curves.parquet")
    steps = [(result.number, one.step) for result in results for one in result.reports]
    assert list(zip(curves["number"], curves["step"], strict=True)) == steps
