"""A search on the built-in base on one card, its export and its score, as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perft.packing.shape import SLOTS_ON_A_GPU
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.selection import pareto_front, read_results

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
NAME, VALIDATION = "on-a-gpu", 100
SIZE = f"--num-trials {SLOTS_ON_A_GPU} --max-steps 100 --validation-size {VALIDATION}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a search has ended well."""
    home = tmp_path_factory.mktemp("home")
    run(home, "search", "--space", "arithmetic", "--name", NAME, *SIZE.split())
    return home


def run(home: Path, job: str, *options: str) -> str:
    """Runs `jobs/<job>.py` to a good end; what it printed."""
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", *options],
        cwd=REPOSITORY,
        env={**os.environ, "PERFT_HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_trial_reports_and_one_group_trains_as_many_as_suit_a_gpu(home: Path) -> None:
    search = find_search(NAME, str(home / "searches"))
    settings, results = SearchSettings.read(search).to_json(), read_results(search)
    assert (settings["groups"], settings["slots"]) == (1, SLOTS_ON_A_GPU)
    assert len(results) == SLOTS_ON_A_GPU
    assert all(result.reports and not result.error for result in results)
    assert pareto_front(results)


def test_the_best_adapter_scores_again_as_it_did(home: Path, tmp_path: Path) -> None:
    results = read_results(find_search(NAME, str(home / "searches")))
    best = max(result.reports[-1].correct for result in pareto_front(results))
    adapter = str(tmp_path / "adapter")
    run(home, "export", "--name", NAME, "--out", adapter, "--pick", "best")
    scores = json.loads(run(home, "evaluate", "--adapter", adapter, "--json"))["scores"]
    validation = next(score for score in scores if score["split"] == "validation")
    assert validation["scored"] == VALIDATION
    # In bf16, in batches of another size: some answers are others.
    assert abs(validation["correct"] - best) <= 0.05 * VALIDATION
