"""A study that its own folder shows, where there is no MLflow."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from searches import Job

from perft.search_folder import STUDY_PAGE, STUDY_PNG
from perft.searching.settings import SearchSettings
from perft.searching.space import find_space
from perft.selection import read_all_scores, read_base, read_results
from perft.storage import Storage
from perft.studies.page import pages

SIZE = ("--seeds", "2", "--max-steps", "4", "--validation-size", "8", "--groups", "1")
SPACE = """
from perft import SearchSpace, SingleConfig, TrainingConfig
from perft.studies import Curves, Design, Series


def usual(builtin):
    return TrainingConfig(lr=1e-2, max_steps=200)


DESIGN = Design(
    adapters={"r2": SingleConfig(rank=2), "r4": SingleConfig(rank=4)}, rates=(0.5, 1.0), usual=usual
)
STUDY = Curves(
    question="How wide?", design=DESIGN, number="width",
    series=[Series(name="S", adapters={2: "r2", 4: "r4"})],
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
"""


@pytest.mark.ray
def test_a_study_runs_and_is_shown_without_mlflow(start: Callable[..., Job], tmp_path: Path):
    space = tmp_path / "width.py"
    space.write_text(SPACE)
    gone = tmp_path / "gone" / "mlflow"
    gone.mkdir(parents=True)
    (gone / "__init__.py").write_text("raise ImportError('this machine has no MLflow')")
    options = ("--tracker", "folder", "--name", "first")
    job = start(
        "jobs/study.py", str(space), *SIZE, *options, environment={"PYTHONPATH": str(gone.parent)}
    )
    assert job.end() == 0, job.errors
    folder = job.home / "searches/first"
    assert f"page:    {folder}/{STUDY_PAGE}" in job.output
    assert not (job.home / "mlflow.db").exists()

    search = Storage(str(folder))
    results = read_results(search)
    trials = pd.read_parquet(folder / "tracked/trials.parquet")
    assert trials["outcome"].tolist() == [result.outcome for result in results]
    assert trials["val_loss"].tolist() == [result.last.val_loss for result in results]
    assert set(trials["status"]) == {"FINISHED"}
    for number, scores in read_all_scores(search).items():
        row = trials.set_index("number").loc[number]
        for split, (correct, scored) in scores.items():
            assert (row[f"test_correct/{split}"], row[f"test_scored/{split}"]) == (correct, scored)
    curves = pd.read_parquet(folder / "tracked/curves.parquet")
    steps = [(result.number, one.step) for result in results for one in result.reports]
    assert list(zip(curves["number"], curves["step"], strict=True)) == steps

    assert len(results) == 8, "2 adapters, 2 rates, 2 seeds"
    assert {result.config.training.seed for result in results} == {0, 1}
    settings = SearchSettings.read(search).to_json()
    written = pages(find_space(str(space)).study, results, read_base(search), settings)
    assert set(written) == {STUDY_PAGE, STUDY_PNG}
    for name, data in written.items():
        assert (folder / name).read_bytes() == data
