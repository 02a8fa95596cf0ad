"""What a budget allows, and how long a search still takes: of numbers made by hand."""

from pathlib import Path

import pytest

from perft.errors import ConfigError, DamagedError
from perft.search_folder import TIME_FILE
from perft.searching.steering.budget import Budget, Spent
from perft.searching.steering.eta import (
    MEASURED_SECONDS,
    WINDOW_SECONDS,
    Pace,
    TrialSoFar,
    clock_decision,
    duration,
    expected_steps,
    kept_shares,
    seconds_left,
)
from perft.searching.steering.events import NoNewTrials, TimeIsUp
from perft.searching.steering.stopwatch import KEEP_SECONDS, Stopwatch, read_spent
from perft.storage import Storage
from perft.trial import Outcome

RUNGS = (50, 100, 200)


def so_far(rung: int, outcome: Outcome | None = None, step: int | None = None) -> TrialSoFar:
    return TrialSoFar(rung, rung if step is None else step, outcome)


def pace_of(steps_per_second: float, trials_at_once: int = 4) -> Pace:
    pace = Pace(trials_at_once)
    for second in range(0, 61, 5):
        pace.note(1000.0 + second, 7 + round(second * steps_per_second))
    return pace


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"max_hours": 0.0}, "max_hours must be a positive number, found 0.0"),
        ({"max_gpu_hours": float("nan")}, "max_gpu_hours must be a positive number"),
        ({"max_hours": float("inf")}, "max_hours must be a positive number"),
        ({"max_steps_total": 0}, "max_steps_total must be a whole number of at least 1"),
        ({"max_steps_total": 1.5}, "max_steps_total must be a whole number"),
    ],
)
def test_a_bound_that_cannot_be_is_refused(bounds: dict[str, float], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Budget(**bounds)  # type: ignore[arg-type]


def test_a_budget_that_allows_no_full_length_trial_is_refused() -> None:
    Budget(max_steps_total=200).require_length(200)
    Budget(max_hours=1.0).require_length(200)
    with pytest.raises(
        ConfigError, match=r"--max-steps-total is 199, and one full-length trial .*"
    ):
        Budget(max_steps_total=199).require_length(200)


def test_gpu_hours_need_gpus() -> None:
    Budget(max_gpu_hours=3).require_gpus(0.5)
    Budget(max_hours=3).require_gpus(0)
    with pytest.raises(ConfigError, match="trains on CPUs; say --max-hours"):
        Budget(max_gpu_hours=3).require_gpus(0)


def test_the_seconds_left_are_those_of_the_closer_bound() -> None:
    spent = Spent(seconds=1800, gpu_seconds=7200)
    assert Budget().seconds_left(spent, 4) is None
    assert Budget(max_hours=1).seconds_left(spent, 4) == 1800
    assert Budget(max_gpu_hours=3).seconds_left(spent, 4) == 900
    assert Budget(max_hours=1, max_gpu_hours=3).seconds_left(spent, 4) == 900
    assert Budget(max_hours=0.25).seconds_left(spent, 4) == 0


def test_running_trials_have_their_full_length_reserved() -> None:
    budget = Budget(max_steps_total=1000)
    assert budget.fits(200, reserved=800)
    assert not budget.fits(200, reserved=801)
    assert budget.steps_left(801) == 199
    assert budget.steps_left(1001) == 0
    assert Budget(max_hours=1).fits(10**9, reserved=10**9)


def test_time_is_kept_over_all_processes(tmp_path: Path) -> None:
    search, now = Storage(str(tmp_path)), 100.0
    first = Stopwatch(search, 2.0, lambda: now)
    now += KEEP_SECONDS / 2
    first.keep()
    assert not search.exists(TIME_FILE), "it is not written at every moment"
    now += KEEP_SECONDS / 2
    first.keep()
    now += 3
    assert first.spent == Spent(seconds=KEEP_SECONDS + 3, gpu_seconds=2 * (KEEP_SECONDS + 3))
    assert read_spent(search) == Spent(seconds=KEEP_SECONDS, gpu_seconds=2 * KEEP_SECONDS)
    now = 5.0  # another process, on other GPUs
    second = Stopwatch(search, 1.0, lambda: now)
    now += 10
    second.keep(now=True)
    assert read_spent(search) == Spent(seconds=KEEP_SECONDS + 10, gpu_seconds=2 * KEEP_SECONDS + 10)


@pytest.mark.parametrize("text", [b"", b'{"seconds": -1}', b'{"minutes": 1}', b'{"seconds": "1"}'])
def test_a_damaged_time_is_named(tmp_path: Path, text: bytes) -> None:
    search = Storage(str(tmp_path))
    search.write(TIME_FILE, text)
    with pytest.raises(DamagedError, match=r"time\.json is damaged"):
        read_spent(search)


def test_a_pace_is_known_after_a_while_of_training() -> None:
    pace = Pace(trials_at_once=4)
    pace.note(0.0, 0)
    pace.note(500.0, 0)  # the base is loaded
    assert pace.steps_per_second is None
    pace.note(500.0, 4)
    pace.note(500.0 + MEASURED_SECONDS / 2, 100)
    assert pace.steps_per_second is None
    pace.note(500.0 + MEASURED_SECONDS, 204)
    assert pace.steps_per_second == pytest.approx(200 / MEASURED_SECONDS)
    assert pace.seconds_of(50) == pytest.approx(50 * 4 / 20)


def test_a_pace_is_that_of_the_last_minutes() -> None:
    pace = Pace(trials_at_once=1)
    for second in range(2000):
        pace.note(float(second), 1 + second * (1 if second < 1000 else 3))
    assert pace.steps_per_second == pytest.approx(3)
    for second in range(2000, 2000 + int(WINDOW_SECONDS) + 1):
        pace.note(float(second), 6000)
    assert pace.steps_per_second is None, "it stands still"


def test_shares_that_go_on() -> None:
    trials = [so_far(50, "pruned"), so_far(50), so_far(100), so_far(200, "complete")]
    assert kept_shares(RUNGS, trials) == {50: 3 / 4, 100: 1.0}
    assert kept_shares(RUNGS, [so_far(50, "failed"), so_far(0)]) == {50: 1.0, 100: 1.0}
    assert kept_shares((200,), trials) == {}


def test_steps_that_a_trial_is_expected_to_do() -> None:
    kept = {50: 0.5, 100: 0.25}
    assert expected_steps(RUNGS, kept) == 50 + 0.5 * 50 + 0.125 * 100
    assert expected_steps(RUNGS, kept, 20) == 30 + 0.5 * 50 + 0.125 * 100
    assert expected_steps(RUNGS, kept, 50) == 50 + 0.25 * 100
    assert expected_steps(RUNGS, kept, 150) == 50
    assert expected_steps(RUNGS, kept, 200) == 0
    assert expected_steps(RUNGS, {}, 0) == 200


def test_nothing_is_estimated_before_it_is_known() -> None:
    trials = [so_far(50, "pruned"), so_far(50, step=70)]
    assert seconds_left(RUNGS, trials, 3, Pace(4)) is None
    assert seconds_left(RUNGS, trials[1:], 3, pace_of(20)) is None
    steps = (30 + 0.5 * 0 + 100) + 3 * (50 + 0.5 * 150)
    assert seconds_left(RUNGS, trials, 3, pace_of(20)) == pytest.approx(steps / 20)


def test_the_estimate_of_a_search_that_keeps_its_pace_is_right_throughout() -> None:
    """Of trials that all run to their full length, two at a time, 10 steps per second in all."""
    pace, ended = Pace(2), 0
    for second in range(1, 81):
        step, ended = (second * 5) % 200, 2 * (second * 5 // 200)
        pace.note(float(second), second * 10)
        running = [so_far(max((r for r in RUNGS if r <= step), default=0), step=step)] * 2
        trials = [so_far(200, "complete")] * ended + running * (ended < 4)
        found = seconds_left(RUNGS, trials, max(4 - len(trials), 0), pace)
        if ended == 2:
            assert found == pytest.approx(80 - second)
    assert ended == 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"), (59, "59 s"), (60, "1 min"), (3569, "59 min"), (3571, "1.0 h"),
        (47 * 3600, "47.0 h"), (50 * 3600, "3 days"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_clock_decides() -> None:
    hour = Budget(max_hours=1, max_steps_total=10**6)
    half = Spent(seconds=1800, gpu_seconds=0)
    assert clock_decision(Budget(max_steps_total=5), half, 0, 60) is None
    assert clock_decision(hour, half, 0, None) is None
    assert clock_decision(hour, half, 0, 1799) is None
    late = clock_decision(hour, half, 0, 2000)
    assert isinstance(late, NoNewTrials)
    assert late.reason.startswith(
        "30 min of --max-hours 1 left, a full-length trial takes about 33"
    )
    never = clock_decision(hour, half, 0, 3700)
    assert isinstance(never, NoNewTrials)
    assert never.reason == (
        "a full-length trial takes about 1.0 h, more than --max-hours 1 allows; raise it"
    )
    over = clock_decision(hour, Spent(seconds=3601, gpu_seconds=0), 0, 10)
    assert isinstance(over, TimeIsUp)
    assert "--max-hours 1 used up" in over.reason
