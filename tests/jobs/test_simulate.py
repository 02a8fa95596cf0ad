"""`jobs/simulate.py` replays searches on recorded trials."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from calling import call

from perft.search_folder import trial_record
from perft.searching.replay.curves import write_curves
from perft.searching.space import Draw, find_space
from perft.selection import result_line, write_results
from perft.storage import Storage
from perft.tracking.records import TrialRecord
from perft.trial import AdapterSize, Report, TrialConfig, TrialResult
from pretend import SETTINGS

RUNGS = (25, 50, 100, 200)


def recorded(count: int = 80) -> list[TrialResult]:
    """Trials of the space `arithmetic`, better the larger and the nearer to a rate they are."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    draw = Draw(find_space("arithmetic"), True, 0)
    return [trained(number, draw(study.ask())) for number in range(count)]


def trained(number: int, config: TrialConfig) -> TrialResult:
    activated = 600 * config.adapter.rank
    miss = abs(math.log10(config.training.lr / 1e-2)) + 1 / config.adapter.rank
    reports = [
        Report(
            step=step, train_loss=1.0, val_loss=0.1 + miss + 20 / step, lr=1e-3,
            correct=round(100 * math.exp(-miss) * step / RUNGS[-1]), scored=100,
            tokens_per_second=1.0,
        )
        for step in RUNGS
    ]  # fmt: skip
    size = AdapterSize(trainable=activated, activated=activated, base_activated=400_000)
    return TrialResult(
        number=number, config=config, outcome="complete", reports=tuple(reports), size=size
    )


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("curves") / "arithmetic.parquet"
    write_curves(file, recorded())
    return file


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with the search "first", on a GPU; every second trial was stopped at a rung."""
    storage = tmp_path_factory.mktemp("searches")
    search = Storage(str(storage)).child("first")
    settings = {**SETTINGS, "num_trials": 40, "rungs": RUNGS, "gpus_per_worker": 1, "slots": 4}
    search.write("search.json", json.dumps(settings).encode())
    trials = [stopped(each) if each.number % 2 else each for each in recorded(40)]
    write_results(search, map(result_line, trials))
    for trial in trials:
        record = TrialRecord(
            number=trial.number, config=trial.config, started=0, size=trial.size,
            reports=tuple((500 * each.step, each) for each in trial.reports),  # 0.5 s a step
            outcome=trial.outcome,
        )  # fmt: skip
        search.write(trial_record(trial.number), json.dumps(record.to_json()).encode())
    return str(storage)


def stopped(trial: TrialResult) -> TrialResult:
    return replace(trial, outcome="pruned", reports=trial.reports[:2])


def simulated(*options: str) -> list[dict[str, Any]]:
    done = call("simulate", *options, "--repeats", "2", "--json")
    assert done.status == 0, done.errors
    found: list[dict[str, Any]] = json.loads(done.output)["simulated"]
    return found


def test_every_sampler_with_every_pruner_on_a_file(curves: Path) -> None:
    found = simulated(
        *("--curves", str(curves), "--space", "arithmetic"),
        *("--sampler", "random", "--sampler", "tpe", "--pruner", "none", "--pruner", "front"),
    )
    assert [(each["sampler"], each["pruner"]) for each in found] == [
        ("random", "none"), ("random", "front"), ("tpe", "none"), ("tpe", "front")
    ]  # fmt: skip
    full, pruned = found[0], found[1]
    assert full["steps"] == 20 * 200
    assert full["full_length"] == 20
    assert full["steps_in_a_row"] == 5 * 200
    assert pruned["steps"] < full["steps"]
    assert full["cut"] == pruned["cut"] == 0
    for each in found:
        assert each["hours"] is None
        assert 0 <= each["regret"]["q05"] <= each["regret"]["mean"] <= each["regret"]["q95"] <= 1


def test_more_trials_come_nearer_to_the_front(curves: Path) -> None:
    options = ("--curves", str(curves), "--space", "arithmetic", "--sampler", "random")
    few, many = (
        simulated(*options, "--num-trials", count)[0]["regret"]["mean"] for count in ("4", "60")
    )
    assert many < few


def test_time_and_gpu_hours_are_as_measured_in_the_search(searches: str) -> None:
    options = ("--name", "first", "--storage", searches, "--pruner", "none")
    [found] = simulated(*options)
    assert found["num_trials"] == 40
    assert found["hours"] == pytest.approx(found["steps_in_a_row"] * 0.5 / 3600)
    assert found["gpu_hours"] == pytest.approx(found["hours"])
    assert 0.2 < found["cut"] < 0.8  # whose nearest trial was stopped
    [doubled] = simulated(*options, "--groups", "2", "--seconds-per-step", "1")
    assert doubled["hours"] < found["hours"] * 1.5
    assert doubled["gpu_hours"] == pytest.approx(2 * doubled["hours"])


def test_the_table_says_what_it_rests_on(searches: str) -> None:
    done = call("simulate", "--name", "first", "--storage", searches, "--repeats", "2")
    assert done.status == 0, done.errors
    assert "40 trials, 4 at a time: means of 2 searches" in done.output
    assert "Replayed on 20 full-length trials and 20 that were stopped" in done.output
    assert "the regret is a rough guess" in done.output
    other = call(
        "simulate", "--name", "first", "--storage", searches, "--slots", "2", "--repeats", "2"
    )
    assert "For the time, give --seconds-per-step." in other.output


def test_the_same_seed_gives_the_same(curves: Path) -> None:
    options = ("--curves", str(curves), "--space", "arithmetic", "--sampler", "tpe")
    assert simulated(*options) == simulated(*options)
    assert simulated(*options) != simulated(*options, "--seed", "100")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give either --name, an earlier search, or --curves"),
        (["--name", "x", "--curves", "y"], "give either --name"),
        (["--curves", "y"], "--space goes with --curves"),
        (["--name", "x", "--space", "arithmetic"], "--space goes with --curves"),
        (["--name", "x", "--sampler", "tp"], "unknown sampler 'tp'; did you mean 'tpe'"),
        (["--name", "x", "--pruner", "frnt"], "unknown pruner 'frnt'; did you mean 'front'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: list[str], said: str) -> None:
    assert said in call("simulate", *options).refusal


def test_a_file_without_a_rung_of_the_space_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "curves.parquet"
    write_curves(file, [replace(each, reports=each.reports[2:]) for each in recorded(3)])
    refusal = call("simulate", "--curves", str(file), "--space", "arithmetic").refusal
    assert "reported after 100, 200 steps" in refusal
    assert "25, 50" in refusal
