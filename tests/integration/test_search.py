"""A search as a user runs it: its end, its books, its records, and what it leaves behind."""

import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from books import Book, results, told_by_mlflow, told_by_optuna, told_by_search, told_by_tune
from safetensors.torch import load_file
from searches import FIRST_ROUND, MAX_STEPS, REFERENCE, SEARCH, SIZE, SPACE, TRIALS, Job

from perft.adapter_folder import BLOCK, CONFIG, WEIGHTS
from perft.config import ExpertsConfig
from perft.search_folder import (
    BASE_FILE,
    ENVIRONMENT_FILE,
    IMPORTANCE_PNG,
    OPTUNA_FILE,
    PLOT_HTML,
    PLOT_PNG,
    RESULTS_FILE,
    SCORES_FILE,
    SEARCH_FILE,
    SEARCH_RECORD,
    SENT,
    SPACE_FILE,
    TABLE_CSV,
    TABLE_PARQUET,
    TIME_FILE,
    TRAIN_FOLDER,
    TUNE_FOLDER,
    adapter_folder,
    predictions_file,
    predictions_folder,
    trial_file,
    trial_record,
)
from perft.selection import picked_of, read_all_scores, read_base
from perft.selection.importance import importances
from perft.storage import Storage
from perft.storage.folder import CHECKSUMS
from perft.trial import TrialConfig

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


@pytest.fixture
def book(reference: Job) -> Book:
    return Book(reference.home, REFERENCE)


def test_every_trial_is_counted(reference: Job):
    outcomes = [ended.outcome for ended in told_by_search(reference.home, REFERENCE).values()]
    assert len(outcomes) == TRIALS
    assert {"complete", "pruned"} == set(outcomes)
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("complete", "pruned", "failed"))
    assert f"{TRIALS} trials: {counts}" in reference.output
    assert f"({TRIALS}/{TRIALS} trials)" in reference.output


def test_the_end_says_where_to_look(reference: Job):
    assert reference.errors == ""
    end = reference.output[reference.output.index("Pareto front") :]
    for text in (
        "mlflow ui --backend-store-uri",
        "pareto.html",
        "jobs/pareto.py",
        "jobs/export.py",
    ):
        assert text in end
    assert "on test split test: " in end


def test_all_books_agree(reference: Job):
    told = told_by_search(reference.home, REFERENCE)
    assert set(told) == set(range(TRIALS))
    for book in (told_by_tune, told_by_optuna, told_by_mlflow):
        assert book(reference.home, REFERENCE) == told


def test_only_full_length_trials_are_complete(reference: Job):
    for ended in told_by_search(reference.home, REFERENCE).values():
        assert (ended.losses[-1][0] == MAX_STEPS) == (ended.outcome == "complete")


def test_children_hold_parameters_and_tags(reference: Job, book: Book):
    for number, result in results(reference.home, REFERENCE).items():
        run = book.children[number]
        assert result.params, "it was drawn"
        assert run.data.params == {name: str(value) for name, value in result.params.items()}
        assert json.loads(run.data.tags["perft.config"]) == result.config.to_flat()
        base = run.data.tags["perft.base_activated_parameters"]
        assert base == str(result.size.base_activated)
        assert run.data.tags["perft.variant"] == result.config.adapter.variant
        assert run.info.status == "FINISHED"
        size = {name: value for name, value in run.data.metrics.items() if "parameters" in name}
        assert size == {
            "activated_parameters": result.size.activated,
            "trainable_parameters": result.size.trainable,
        }


def test_children_hold_metrics_over_steps(reference: Job, book: Book):
    for number, result in results(reference.home, REFERENCE).items():
        run, reports = book.children[number], result.reports
        for name in ("train_loss", "val_loss", "accuracy", "lr"):
            measured = [each for each in reports if each.scored or name != "accuracy"]
            wanted = [(report.step, getattr(report, name)) for report in measured]
            assert book.history(run, name) == wanted
        speeds = book.history(run, "tokens_per_second")
        assert [step for step, speed in speeds if speed > 0] == [r.step for r in reports]
        if result.config.adapter.variant == "perft-r":
            assert book.history(run, "router_entropy")[-1][1] == reports[-1].router_entropy
            assert book.history(run, "z_router_load/00")[-1][1] == reports[-1].router_load[0]


def test_full_length_trials_have_their_adapter(reference: Job, book: Book):
    for number, ended in told_by_search(reference.home, REFERENCE).items():
        run = book.children[number]
        if ended.outcome != "complete":
            assert book.artifacts(run) == set()
            continue
        kept = reference.home / "searches" / REFERENCE / "adapters" / f"{number:04d}"
        files = {path.name for path in kept.iterdir()} - {"checksums.json"}
        assert files >= {"adapter_model.safetensors", "adapter_config.json"}
        assert book.artifacts(run, "adapter") == {f"adapter/{file}" for file in files}
        for file in files:
            assert book.download(run, f"adapter/{file}") == (kept / file).read_bytes()


def test_the_parent_holds_the_table_the_plots_and_the_settings(reference: Job, book: Book):
    assert book.parent.info.status == "FINISHED"
    assert book.artifacts(book.parent) == {
        "environment.txt", "pareto.html", "pareto.png", "pareto-small.png", "predictions",
        "search.json", "space.py", "trials.csv", "trials.parquet",
    }  # fmt: skip
    table = pd.read_parquet(io.BytesIO(book.download(book.parent, "trials.parquet")))
    told = told_by_search(reference.home, REFERENCE)
    assert dict(zip(table["number"], table["outcome"], strict=True)) == {
        number: ended.outcome for number, ended in told.items()
    }
    tags = {number: run.data.tags["perft.front"] for number, run in book.children.items()}
    front = {number for number, tag in tags.items() if tag == "true"}
    assert front == set(table[table["on_front"]]["number"]) != set()
    assert b"torch==" in book.download(book.parent, "environment.txt")
    assert b"SPACE = " in book.download(book.parent, "space.py")
    picked = picked_of(list(results(reference.home, REFERENCE).values()))
    assert picked is not None
    metrics = book.parent.data.metrics
    assert metrics["trials_ended"] == TRIALS
    assert metrics["best_accuracy"] == picked.best.last.accuracy
    assert 0 < metrics["hours"] < 1
    contexts = {each.tags[0].value for each in book.parent.inputs.dataset_inputs}
    assert contexts == {"train", "validation", "test"}


def test_the_folder_holds_what_its_layout_names_and_nothing_else(reference: Job):
    folder = Storage(str(reference.home / "searches" / REFERENCE))
    assert folder.folder is not None
    files = {str(path.relative_to(folder.folder)) for path in folder.folder.rglob("*")
             if path.is_file()}  # fmt: skip
    found = {file for file in files if file.partition("/")[0] not in (TUNE_FOLDER, TRAIN_FOLDER)}
    ended = results(reference.home, REFERENCE)
    every = {SEARCH_FILE, RESULTS_FILE, SCORES_FILE, ENVIRONMENT_FILE, SPACE_FILE, OPTUNA_FILE,
             TABLE_PARQUET, TABLE_CSV, PLOT_HTML, PLOT_PNG, SEARCH_RECORD, SENT,
             BASE_FILE, TIME_FILE}  # fmt: skip
    for number, result in ended.items():
        every |= {trial_record(number), trial_file(number)}
        every |= {trial_file(number, 1)} & found  # of those that had a second round
        if result.outcome == "complete":
            block = set() if isinstance(result.config.adapter, ExpertsConfig) else {BLOCK}
            names = {WEIGHTS, CONFIG, CHECKSUMS} | block
            every |= {f"{adapter_folder(number)}/{name}" for name in names}
    if importances(list(ended.values())):
        every.add(IMPORTANCE_PNG)
    for number in (*read_all_scores(folder), None):
        every |= {predictions_file(number, 0), f"{predictions_folder(number)}/{CHECKSUMS}"}
    assert found == every
    assert {file.partition("/")[0] for file in files - found} == {TUNE_FOLDER, TRAIN_FOLDER}


def test_chosen_trials_have_test_scores(book: Book):
    scored = [run for run in book.children.values() if "test_scored/test" in run.data.metrics]
    assert 1 <= len(scored) <= 2
    for run in scored:
        assert run.data.tags["perft.front"] == "true"
        assert run.data.metrics["test_scored/test"] == 1000


def test_the_base_alone_is_scored_on_the_same_splits(reference: Job, book: Book):
    base = read_base(Storage(str(reference.home / "searches" / REFERENCE)))
    assert base is not None
    assert (base.validation.scored, base.tests["test"].scored) == (40, 1000)
    assert book.parent.data.metrics["base_accuracy"] == base.accuracy
    assert f"the base alone on test split test: {base.tests['test'].correct}/1000" in (
        reference.output
    )


def test_an_exported_adapter_scores_what_was_logged(reference: Job, start, tmp_path: Path):
    out = str(tmp_path / "adapter")
    export = start("jobs/export.py", "--name", REFERENCE, "--out", out, home=reference.home)
    assert export.end() == 0, export.errors
    evaluate = start("jobs/evaluate.py", "--adapter", out, "--task", "arithmetic", "--json")
    assert evaluate.end() == 0, evaluate.errors
    scores = json.loads(evaluate.output)["scores"]
    found = {score["split"]: (score["correct"], score["scored"]) for score in scores}

    number = int(re.match(r"trial (\d+) ", export.output)[1])
    last = results(reference.home, REFERENCE)[number].last
    kept = json.loads((reference.home / "searches" / REFERENCE / "scores.json").read_text())
    assert found["validation"] == (last.correct, last.scored)
    assert found["test"] == tuple(kept[str(number)]["test"])


def test_a_trial_alone_gives_the_same_losses(reference: Job, start):
    complete = [r for r in results(reference.home, REFERENCE).values() if r.outcome == "complete"]
    config = complete[0].config
    options = [f"--{name.replace('_', '-')}={value}" for name, value in _options(config)]
    job = start("jobs/train.py", *SPACE, *options, "--validation-size", "40")
    assert job.end() == 0, job.errors
    alone = [float(loss) for loss in re.findall(r"val loss ([\d.]+)", job.output)]
    assert alone == pytest.approx([report.val_loss for report in complete[0].reports], abs=1e-4)


def test_in_bfloat16_a_trial_alone_repeats_the_search_bit_for_bit(start, tmp_path: Path):
    size = ("--num-trials", "3", "--max-steps", "8", "--validation-size", "20")
    low = ("--dtype", "bfloat16", "--slots", "3", "--no-rung-accuracy")
    search = start(*SEARCH, *SPACE, *size, *low, "--groups", "1", "--name", "low")
    assert search.end() == 0, search.errors
    complete = [r for r in results(search.home, "low").values() if r.outcome == "complete"]
    trial, out = complete[0], tmp_path / "alone"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in _options(trial.config)]
    alone = start("jobs/train.py", *SPACE, *options, *size[4:], *low, "--out", str(out))
    assert alone.end() == 0, alone.errors
    found, wanted = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (out, search.home / f"searches/low/adapters/{trial.number:04d}")
    )
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key


def _options(config: TrialConfig) -> list[tuple[str, Any]]:
    """What `jobs/train.py` is told to train the same trial."""
    names = ("variant", "rank", "num_experts", "top_k", "lr", "max_steps")
    return [(name, value) for name, value in config.to_flat().items() if name in names]


def test_more_trials_leave_those_that_there_were(start, tmp_path: Path):
    """Begun in a storage of the user's own, and found there by its name alone."""
    elsewhere = tmp_path / "else where"
    shape = ("--groups", "1", "--slots", str(FIRST_ROUND), "--num-trials", "3")
    at = ("--storage", str(elsewhere / "searches"), "--name", "more")
    first = start(*SEARCH, *SPACE, *SIZE, *shape, *at)
    assert first.end() == 0, first.errors
    before = results(elsewhere, "more")
    assert len([each for each in before.values() if each.origin is None]) == 3
    more = start(*SEARCH, "--resume", "more", "--num-trials", str(TRIALS), home=first.home)
    assert more.end() == 0, more.errors
    after = results(elsewhere, "more")
    assert {number: after[number] for number in before} == before
    assert len([each for each in after.values() if each.origin is None]) == TRIALS
    told = told_by_search(elsewhere, "more")
    for book in (told_by_tune, told_by_optuna):
        assert book(elsewhere, "more") == told
    outcomes = {number: ended.outcome for number, ended in told.items()}
    found = told_by_mlflow(first.home, "more")
    assert {number: ended.outcome for number, ended in found.items()} == outcomes
    # It is at its end now, and what it has printed can be pasted anywhere.
    again = start(*SEARCH, "--resume", "more", home=first.home)
    assert again.end() == 0, again.errors
    assert "search more ran to its end before" in again.output
    for command in re.findall(r"^(?:front|export): +(.+)$", more.output, re.MULTILINE):
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PERFT_HOME": str(first.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_nothing_is_left_running(reference: Job):
    assert reference.family.disappears()


def test_more_workers_than_the_cluster_has(start):
    job = start(*SEARCH, *SPACE, *SIZE, "--name", "large", "--groups", "1000")
    assert job.end() == 2
    assert job.errors.startswith("error: 1000 groups of 1 workers need 1000 ")
    assert job.errors.count("\n") == 1
    assert Book(job.home, "large").parent.info.status == "FAILED"
    assert job.family.disappears()
