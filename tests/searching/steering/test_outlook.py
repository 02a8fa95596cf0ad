"""What is left of a search, as it runs: by a clock and trials made by hand."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pretend
from perft.searching.ledger import Entry
from perft.searching.steering.budget import Budget
from perft.searching.steering.eta import Pace
from perft.searching.steering.events import NoNewTrials, TimeIsUp
from perft.searching.steering.outlook import Outlook
from perft.searching.steering.stopwatch import Stopwatch
from perft.storage import Storage
from perft.trial import Origin, Outcome

RUNGS = (50, 100, 200)


def entry(number: int, outcome: Outcome | None, *steps: int, origin: Origin | None = None) -> Entry:
    reports = [pretend.report(step, 100) for step in steps]
    made = pretend.trial(number)
    return Entry(number, made.config, {}, origin, "", reports, made.size, outcome)


class Clock:
    """A search of two trials at a time that trains 10 steps per second."""

    def __init__(self, folder: Path, budget: Budget, gpus: float = 0.0, to_come: int = 2) -> None:
        self.now, self.between = 0.0, dict[int, int]()
        self.entries: dict[int, Entry] = {}
        agenda: Any = SimpleNamespace(to_come=to_come)

        def steps() -> Mapping[int, int]:
            return dict(self.between)

        self.outlook = Outlook(
            RUNGS,
            agenda,
            self.entries,
            steps,
            stopwatch=Stopwatch(Storage(str(folder)), gpus, lambda: self.now),
            pace=Pace(2),
            budget=budget,
            clock=lambda: self.now,
        )

    def run(self, seconds: int) -> "Clock":
        """Each of two trials gets ahead by 5 steps in a second; the first stops at 50."""
        for _ in range(seconds):
            step = round(5 * self.now)
            for number in (0, 1):
                rungs = [rung for rung in RUNGS if rung <= step]
                is_stopped = number == 0 and step >= 50
                self.entries[number] = entry(
                    number, "pruned" if is_stopped else None, *rungs[: 1 if is_stopped else 9]
                )
                self.between[number] = step
            self.outlook.measure()
            self.now += 1
        return self


def test_nothing_is_said_before_a_trial_has_ended(tmp_path: Path) -> None:
    assert str(Clock(tmp_path, Budget()).run(9).outlook) == ""


def test_it_says_the_time_that_is_left(tmp_path: Path) -> None:
    clock = Clock(tmp_path, Budget()).run(15)
    text = str(clock.outlook)
    # At step 70: 130 steps of trial 1, and 50 + 50% of 150 steps of each of two trials, by about
    # 8 to 10 steps per second.
    assert text.startswith("about ")
    seconds = int(text.removeprefix("about ").removesuffix(" s left"))
    assert (130 + 2 * 125) / 10 <= seconds <= (130 + 2 * 125) / 8


def test_it_says_what_is_left_of_the_budget(tmp_path: Path) -> None:
    budget = Budget(max_hours=1.0, max_steps_total=1000)
    text = str(Clock(tmp_path, budget, gpus=4.0).run(15).outlook)
    assert "  ·  0.02 GPU hours  ·  budget 60 min, 880 steps" in text.replace("1.0 h", "60 min")


def test_a_budget_that_ends_the_search_earlier_is_the_time_left(tmp_path: Path) -> None:
    clock = Clock(tmp_path, Budget(max_hours=25 / 3600), to_come=100).run(15)
    assert str(clock.outlook).startswith("about 10 s left")
    found = clock.outlook.clock_decision()
    assert isinstance(found, NoNewTrials)
    clock.now = 26.0
    assert isinstance(clock.outlook.clock_decision(), TimeIsUp)


def test_a_continued_trial_counts_its_own_steps_alone(tmp_path: Path) -> None:
    clock = Clock(tmp_path, Budget(max_steps_total=1000))
    clock.entries[0] = entry(0, "pruned", 50)
    clock.entries[1] = entry(
        1, "complete", 100, 200, origin=Origin(kind="continue", trial=0, step=50)
    )
    assert str(clock.outlook) == "budget 800 steps"
