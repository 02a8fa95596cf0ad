"""How long a search takes, from a measured step: of numbers made by hand."""

import dataclasses

import pytest

import pretend
from perft.config.typed import read_fields
from perft.errors import SearchError
from perft.searching.settings import SearchSettings
from perft.searching.steering.forecast import (
    Setup,
    forecast,
    kept_like,
    seconds_per_step,
    setup_like,
    time_like,
    time_of,
)
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord, TrialRecord
from perft.trial import Outcome

SETUP = Setup(
    num_trials=16, rungs=(50, 100, 200), groups=2, slots=4, gpus=4, seconds_per_step=0.5
)  # fmt: skip


def record(number: int, outcome: Outcome | None, *seconds: float) -> TrialRecord:
    """A trial that started at second 100, and reported at these."""
    made = pretend.trial(number)
    reports = zip(seconds, (50, 100, 200), strict=False)
    return TrialRecord(
        number=number,
        config=made.config,
        started=100_000,
        size=made.size,
        reports=tuple((int(1000 * at), pretend.report(step, 9)) for at, step in reports),
        outcome=outcome,
    )


TRIALS = (
    record(0, "complete", 160, 170, 200),  # 0.2, then 0.3 seconds per step
    record(1, "pruned", 160, 172.5),  # 0.25
    record(2, "pruned", 160),
    record(3, "failed"),
    record(4, None, 160, 5000),  # interrupted meanwhile
)


def test_all_steps_are_spread_over_the_slots() -> None:
    found = forecast(SETUP, [1.0, 1.0])
    assert found.steps == 16 * 200
    assert found.hours == pytest.approx(16 * 200 / 8 * 0.5 / 3600)
    assert found.gpu_hours == pytest.approx(4 * found.hours)
    assert forecast(SETUP, [0.5, 0.5]).steps == 16 * (50 + 25 + 25)


def test_no_search_is_shorter_than_its_longest_trial() -> None:
    few = dataclasses.replace(SETUP, num_trials=2)
    assert forecast(few, [1.0, 1.0]).hours == pytest.approx(200 * 0.5 / 3600)


def test_a_step_is_measured_between_rungs() -> None:
    assert seconds_per_step(TRIALS[:4], "first") == pytest.approx(0.25)
    assert seconds_per_step(TRIALS, "first") == pytest.approx((0.25 + 0.3) / 2), "the median"
    assert seconds_per_step(TRIALS[2:4], "first") == pytest.approx(60 / 50)
    with pytest.raises(SearchError, match="no trial of search 'first' has reported"):
        seconds_per_step(TRIALS[3:4], "first")


def test_shares_of_an_earlier_search() -> None:
    assert kept_like((50, 100, 200), TRIALS) == [2 / 3, 1 / 2]


def test_the_setup_of_an_earlier_search() -> None:
    settings = read_fields(
        SearchSettings,
        {**pretend.SETTINGS, "groups": 2, "workers_per_group": 3, "gpus_per_worker": 1.0},
    )
    found = setup_like(settings, TRIALS[:4])
    assert (found.groups, found.slots, found.gpus, found.num_trials) == (2, 4, 6.0, 4)
    assert setup_like(dataclasses.replace(settings, gpus_per_worker=None), TRIALS).gpus == 0


def test_in_words_and_as_json() -> None:
    found = time_of(SETUP)
    assert str(found) == (
        "16 trials of 200 steps, 8 at a time, 0.5 s per step: 1,600 to 3,200 steps in all, about "
        "2 min to 3 min, 0.11 to 0.22 GPU hours"
    )
    assert found.to_json()["steps"] == [1600, 3200]
    on_cpus = time_of(dataclasses.replace(SETUP, gpus=0))
    assert "GPU" not in str(on_cpus)
    assert on_cpus.to_json()["gpu_hours"] is None


def test_as_an_earlier_search(tmp_path: Storage) -> None:
    search = Storage(str(tmp_path))
    read_fields(SearchSettings, pretend.SETTINGS).write(search)
    records = Records(search, SearchRecord(name="first", place="there", params={}))
    for trial in TRIALS[:4]:
        records.keep(trial)
    found = time_like(search, num_trials=30)
    assert found.setup.num_trials == 30
    assert found.setup.seconds_per_step == pytest.approx(0.25)
    assert [each.steps for each in found.found] == [pytest.approx(30 * (50 + 50 * 2 / 3 + 100 / 3))]
