"""The stock side of a search trains and evaluates as perft does, and what it costs is reckoned."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from perft.config import (
    AdapterConfig,
    LoraAttentionConfig,
    LoraQVConfig,
    RoutedConfig,
    TrainingConfig,
)
from perft.models.load import load_base
from perft.ranks import Ranks
from perft.tasks import TaskSource, load_task
from perft.training.pack import Pack
from perft.trial import TrialConfig

REPOSITORY = Path(__file__).resolve().parents[2]
RUNGS = [2, 4]
TRAINING = TrainingConfig(lr=1e-3, batch_size=4, max_steps=4, warmup_steps=1, max_length=160)


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))


@pytest.fixture
def places(tmp_path: Path, benchmarks: None) -> dict[str, Any]:
    """A base and data as the benchmark writes them."""
    import random_base

    random_base.main(str(tmp_path / "base"), "cpu")
    data = random_base.write_data(tmp_path / "data", 24, 3)
    source = {"name": "arithmetic", "data": data, "validation_size": 4, "seed": 0}
    return {"base": str(tmp_path / "base"), "source": source}


def job(places: dict[str, Any], config: AdapterConfig, **more: Any) -> dict[str, Any]:
    return {
        **places, "config": TrialConfig(config, TRAINING).to_flat(), "rungs": RUNGS, "losses": {},
        "reduction_factor": 3, "rows": 2, "device": "cpu", **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        LoraQVConfig(rank=2),
        LoraAttentionConfig(rank=2),
        RoutedConfig(rank=2, num_experts=4, top_k=2),
    ],
    ids=lambda config: config.variant,
)
def test_a_stock_trial_trains_as_one_of_perft(
    config: AdapterConfig, places: dict[str, Any]
) -> None:
    from stock_trial import run_trial

    torch.manual_seed(0)
    done = run_trial(job(places, config))
    pack = Pack(
        load_base(places["base"], dtype="bfloat16"),
        load_task(TaskSource(**places["source"])),
        Ranks(),
    )
    pack.admit("trial", TrialConfig(config, TRAINING))
    for rung in RUNGS:
        wanted = pack.advance({"trial": rung})["trial"]
        assert not isinstance(wanted, str)
        assert done["losses"][rung] == pytest.approx(wanted.val_loss, rel=0.02)
    assert done["step"] == RUNGS[-1]
    assert (done["correct"], wanted.scored) == (wanted.correct, 4)
    assert set(done["seconds"]) == {"load", "training", "evaluation"}


def test_a_weak_trial_stops_at_its_rung(places: dict[str, Any]) -> None:
    from stock_trial import run_trial

    done = run_trial(job(places, LoraQVConfig(rank=2), losses={"2": [0.1, 0.2]}))
    assert (done["step"], done["correct"]) == (2, None)


def test_trials_that_did_not_run_are_reckoned_from_those_that_did() -> None:
    from gpu_search import reckoned

    seconds = {"start": 1.0, "load": 2.0, "training": 8.0, "evaluation": 2.0}
    trials = [{"step": 10, "seconds": seconds}, {"step": 10, "seconds": seconds}]
    assert reckoned(trials, 2, 20) == 0
    assert reckoned(trials, 4, 50) == 2 * 3 + 30 * 1.0


@pytest.mark.ray
def test_both_sides_run_on_a_tiny_base() -> None:
    done = subprocess.run(
        [
            sys.executable, str(REPOSITORY / "benchmarks" / "gpu_search.py"), "--tiny",
            "--num-trials", "2", "--max-steps", "4", "--validation-size", "4",
            "--stock-seconds", "0",
        ],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stock, 1 of 2 trials" in done.stdout
    assert re.search(r"^stock / perft: [\d.]+$", done.stdout, re.MULTILINE)
