"""Whatever dies in the middle of a search, its results are those of an undisturbed one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import (
    Book,
    results,
    same_as_undisturbed,
    told_by_mlflow,
    told_by_optuna,
    told_by_search,
    told_by_tune,
)
from searches import (
    CONTROLLER,
    FIRST_ROUND,
    MEETING_POINT,
    REPOSITORY,
    SEARCH,
    SIZE,
    SPACE,
    THIN_TRIAL,
    TRIALS,
    Job,
    starter,
)

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),  # a search takes long on a busy machine
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]

INTERRUPTED = (
    r"error: search 'cut' was interrupted after [1-5] of 6 trials; resume it by: "
    rf"\S+ {REPOSITORY}/jobs/search\.py --resume cut\n$"
)
ONE_GROUP = (*SEARCH, *SPACE, *SIZE, "--groups", "1", "--slots", str(FIRST_ROUND))


def test_a_killed_worker_changes_nothing(reference: Job, start):
    job = start(*ONE_GROUP, "--name", "hurt")
    killed = job.kill_worker_at_work(after=FIRST_ROUND)
    job.until(lambda: set(job.workers) - {killed})
    assert job.rungs < reference.rungs
    assert job.end() == 0, job.errors
    assert job.errors == ""
    same_as_undisturbed(job.home, "hurt", reference.home)
    assert job.family.disappears()


def test_a_killed_thin_trial_changes_nothing(reference: Job, start):
    job = start(*ONE_GROUP, "--name", "hurt")
    job.kill_at_work(THIN_TRIAL, after=FIRST_ROUND)
    assert job.end() == 0, job.errors
    assert job.errors == ""
    same_as_undisturbed(job.home, "hurt", reference.home)


@pytest.mark.parametrize("title", [CONTROLLER, MEETING_POINT])
def test_a_killed_actor_of_the_engine_changes_nothing(title: str, reference: Job, start):
    job = start(*ONE_GROUP, "--name", "hurt")
    job.kill_at_work(title, after=FIRST_ROUND)
    assert job.end() == 0, job.errors
    assert job.errors == ""
    same_as_undisturbed(job.home, "hurt", reference.home)
    assert job.family.disappears()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A search whose driver was killed, gone on with, interrupted, and gone on with to its end."""
    home = tmp_path_factory.mktemp("resumed")
    for start in starter(home):
        first = start(*ONE_GROUP, "--name", "cut")
        first.kill_driver_at_work(after=FIRST_ROUND)
        assert 1 <= len(told_by_search(home, "cut")) < TRIALS
        second = start(*SEARCH, "--resume", "cut")
        second.interrupt_at_work(after=FIRST_ROUND)
        assert second.end() == 130
        assert "stopping, and keeping what there is; once more aborts" in second.output
        book = Book(home, "cut")
        assert book.parent.info.status == "KILLED"
        statuses = {run.info.status for run in book.children.values()}
        assert statuses <= {"FINISHED", "KILLED"}, "a run stays RUNNING"
        assert re.match(INTERRUPTED, second.errors)
        third = start(*SEARCH, "--resume", "cut")
        assert third.end() == 0, third.errors
        yield third


def test_a_killed_driver_changes_nothing(reference: Job, resumed: Job):
    same_as_undisturbed(resumed.home, "cut", reference.home)
    assert resumed.errors == ""
    counts = [line for line in reference.output.splitlines() if line.startswith(f"{TRIALS} trials")]
    assert counts[0] in resumed.output
    assert resumed.family.disappears()


def test_the_records_of_a_resumed_search_are_those_of_one(resumed: Job):
    book = Book(resumed.home, "cut")
    assert len(book.children) == TRIALS
    assert {run.info.status for run in (book.parent, *book.children.values())} == {"FINISHED"}
    for run in book.children.values():
        for name in run.data.metrics:
            steps = [step for step, _ in book.history(run, name)]
            assert len(steps) == len(set(steps)), f"{name} is recorded twice"


def test_resuming_a_finished_search_changes_nothing(reference: Job, resumed: Job, start):
    before = Book(resumed.home, "cut").everything()
    again = start(*SEARCH, "--resume", "cut", home=resumed.home)
    assert again.end() == 0, again.errors
    assert "search cut ran to its end before" in again.output
    assert again.output.endswith(resumed.output[resumed.output.index("Pareto front") :])
    assert Book(resumed.home, "cut").everything() == before
    same_as_undisturbed(resumed.home, "cut", reference.home)


SPACE_WITH_AN_ABSURD_TRIAL = '''
"""Trial 1 leaves the numbers that float32 has in its first step."""

from perft.config import SingleConfig, TrainingConfig
from perft.searching.space import SearchSpace
from perft.trial import TrialConfig


def training(builtin):
    return TrainingConfig(lr=1e-2, max_steps=20, warmup_steps=0, max_length=128)


def suggest(trial, builtin):
    lr = trial.suggest_categorical("lr", (1e-3, 2e-3, 5e-3, 1e38))
    base = training(builtin)
    return TrialConfig(SingleConfig(rank=2), TrainingConfig(**{**base.to_flat(), "lr": lr}))


POINTS = [{"lr": 1e-3}, {"lr": 1e38}, {"lr": 2e-3}, {"lr": 5e-3}]
SPACE = SearchSpace(task="arithmetic", suggest=suggest, training=training, points=POINTS)
'''

WITH_FURTHER_SPACES = """
import runpy, sys, search_spaces
search_spaces.__path__.append(sys.argv.pop(1))
runpy.run_path("jobs/search.py", run_name="__main__")
"""


def test_a_loss_that_is_not_finite_fails_its_own_trial(start, tmp_path: Path):
    (tmp_path / "absurd.py").write_text(SPACE_WITH_AN_ABSURD_TRIAL)
    options = (
        "--space",
        "absurd",
        "--num-trials",
        "4",
        "--groups",
        "1",
        "--slots",
        "4",
        "--validation-size",
        "20",
    )
    job = start("-c", WITH_FURTHER_SPACES, str(tmp_path), *options, "--name", "nan")
    assert job.end() == 0, job.errors

    told = told_by_search(job.home, "nan")
    failed = [number for number, ended in told.items() if ended.outcome == "failed"]
    assert failed == [1]
    assert len(told) == 4
    for book in (told_by_tune, told_by_optuna, told_by_mlflow):
        assert book(job.home, "nan") == told
    assert "the training loss is" in results(job.home, "nan")[1].error
    assert "trial   1  failed: the training loss is" in job.output
    assert job.errors == ""
    run = Book(job.home, "nan").children[1]
    assert run.info.status == "FAILED"
    assert "the training loss is" in run.data.tags["mlflow.note.content"]
