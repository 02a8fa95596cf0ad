"""A search with commands and budgets follows from its seed and the record of these alone.

Whole searches of the simulator: the real coordinator, agenda, scheduler and callback.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from packing.simulator import RUNGS, SECONDS_PER_REPORT, Folder, Simulator, config_of, first
from perft.searching.steering.budget import HOUR, Budget
from perft.searching.steering.event_log import recorded, send, waiting
from perft.searching.steering.events import (
    AddTrial,
    Command,
    NoNewTrials,
    SetBudget,
    SetNumTrials,
    StopTrial,
    TimeIsUp,
)

FULL = RUNGS[-1]
NEW = AddTrial(settings=config_of(FULL, seed=77).to_flat())
CLONE = AddTrial(settings=config_of(FULL, seed=78).to_flat(), clone_of=1)
COMMANDS: Mapping[int, Sequence[Command]] = {
    2: [StopTrial(trial=3), NEW],
    5: [CLONE],
    9: [SetNumTrials(count=9), StopTrial(trial=0)],
    12: [NEW, StopTrial(trial=500)],
}
"""By number of reports before it, what a user commands."""

Log = list[tuple[Any, ...]]


def user(folder: Folder, commands: Mapping[int, Sequence[Command]]) -> Callable[[int], None]:
    """Sends each command once, however often the search comes to that report."""
    left = dict(commands)

    def act(reports: int) -> None:
        for command in left.pop(reports, ()):
            send(folder, command)  # type: ignore[arg-type]

    return act


def search(
    folder: Folder,
    shape: tuple[int, int] = (1, 4),
    choose: Callable[[int], int] = first,
    commands: Mapping[int, Sequence[Command]] = COMMANDS,
    **settings: Any,
) -> Simulator:
    settings = {"num_trials": 12, "command": user(folder, commands), **settings}
    return Simulator(*shape, choose=choose, folder=folder, **settings).run()


def steps(log: Log) -> int:
    """Steps that the trials of a log have done."""
    last: dict[int, int] = {}
    for number, *rest in log:
        if len(rest) > 1:
            last[number] = rest[1]
    return sum(last.values())


def events(folder: Folder) -> list[Any]:
    return [event.action for event in recorded(folder)]  # type: ignore[arg-type]


def test_each_command_is_applied_and_recorded() -> None:
    found = search(folder := Folder())
    assert events(folder) == [each for commands in COMMANDS.values() for each in commands]
    assert waiting(folder) == {}  # type: ignore[arg-type]
    kinds = [trial.origin.kind for trial in found.trials.values() if trial.origin]
    assert kinds == ["add", "clone", "add"]
    assert len(found.trials) == 9 + 3
    after = [entry for entry in found.log[2:] if entry[0] == 3]
    assert len(after) == 1, "it is stopped at its next rung"
    assert after[0][-1] is True
    assert any("trial 500 was to be stopped" in note for note in found.notes)


def test_a_trial_that_the_user_has_stopped_gets_no_second_chance() -> None:
    settings: dict[str, Any] = {"second_chances": 12}
    free = search(Folder(), commands={}, **settings)
    continued = [t.origin.trial for t in free.trials.values() if t.origin]
    mine = next(number for number in continued if number is not None and number < 4)
    found = search(Folder(), commands={0: [StopTrial(trial=mine)]}, **settings)
    assert found.ledger.entries[mine].outcome == "pruned"
    continued = [t.origin.trial for t in found.trials.values() if t.origin]
    assert mine not in continued
    assert len(continued) > 3


@pytest.mark.parametrize("shape", [(1, 4), (2, 2), (2, 1)])
def test_a_resumed_search_repeats_it_exactly_whatever_dies(shape: tuple[int, int]) -> None:
    calm = search(folder := Folder(), shape)
    for seed in range(6):
        chance = Random(seed).randrange
        again = search(
            folder, shape, chance, {}, reports=len(calm.log), kills=2, restarts=2, idle_kills=1
        )
        assert again.log == calm.log


@pytest.mark.parametrize("shape", [(1, 4), (2, 1)])
def test_commands_do_not_make_a_search_depend_on_timing(shape: tuple[int, int]) -> None:
    calm = search(Folder(), shape)
    for seed in range(8):
        hasty = search(Folder(), shape, Random(seed).randrange, kills=2, restarts=2)
        assert hasty.log == calm.log


@pytest.mark.parametrize("dies_at", range(0, 20, 2))
def test_a_driver_that_dies_changes_nothing(dies_at: int) -> None:
    whole = search(Folder(), failing={4: 20}, second_chances=2)
    folder = Folder()
    act = user(folder, COMMANDS)
    settings: dict[str, Any] = {
        "num_trials": 12, "failing": {4: 20}, "second_chances": 2, "folder": folder, "command": act
    }  # fmt: skip
    Simulator(1, 4, dies_at=dies_at, **settings).run()
    assert Simulator(1, 4, reports=dies_at, **settings).run().log == whole.log


def test_more_trials_after_the_end_leave_the_first_part_as_it_was() -> None:
    folder, settings = Folder(), {"num_trials": 5, "second_chances": 2, "confirmations": 1}
    part = search(folder, commands={}, **settings)
    send(folder, SetNumTrials(count=9))  # type: ignore[arg-type]
    whole = search(folder, commands={}, reports=len(part.log), **settings)
    assert whole.log[: len(part.log)] == part.log
    origins = [trial.origin for trial in whole.trials.values()]
    assert origins.count(None) == 9
    again = search(folder, (1, 4), Random(1).randrange, {}, reports=len(whole.log), **settings)
    assert again.log == whole.log
    confirmed = [origin.trial for origin in origins if origin and origin.kind == "confirm"]
    assert len(set(confirmed)) == len(confirmed), "each trial of the front once"


@pytest.mark.parametrize("shape", [(1, 4), (2, 2), (1, 1)])
@pytest.mark.parametrize("most", [FULL, 6 * FULL, 6 * FULL + 7])
def test_a_budget_of_steps_is_kept_and_used(shape: tuple[int, int], most: int) -> None:
    settings: dict[str, Any] = {
        "num_trials": 1000, "budget": Budget(max_steps_total=most), "commands": {}
    }  # fmt: skip
    calm = search(Folder(), shape, **settings)
    assert most - FULL < steps(calm.log) <= most
    complete = [entry for entry in calm.log if entry[2] == FULL]
    stopped = [entry for entry in calm.log if entry[-1] is True]
    assert len(complete) + len(stopped) == len(calm.trials), "no trial is cut short"
    for seed in range(4):
        assert search(Folder(), shape, Random(seed).randrange, **settings).log == calm.log


def test_what_the_steps_leave_is_for_second_chances() -> None:
    budget = Budget(max_steps_total=5 * FULL + 30)
    settings: dict[str, Any] = {"num_trials": 1000, "commands": {}, "budget": budget}
    without = search(Folder(), **settings)
    found = search(Folder(), second_chances=5, **settings)
    assert found.log[: len(without.log)] == without.log
    assert {trial.origin.kind for trial in found.trials.values() if trial.origin} == {"continue"}
    own = sum(FULL - trial.origin.step for trial in found.trials.values() if trial.origin)
    assert steps(without.log) + own <= 5 * FULL + 30


def test_steps_can_be_added_when_they_are_used_up() -> None:
    folder = Folder()
    settings: dict[str, Any] = {
        "num_trials": 1000, "commands": {}, "budget": Budget(max_steps_total=4 * FULL)
    }  # fmt: skip
    part = search(folder, **settings)
    send(folder, SetBudget(budget=Budget(max_steps_total=8 * FULL)))  # type: ignore[arg-type]
    whole = search(folder, reports=len(part.log), **settings)
    assert whole.log[: len(part.log)] == part.log
    assert 7 * FULL < steps(whole.log) <= 8 * FULL


@pytest.mark.parametrize("shape", [(1, 4), (2, 1)])
def test_the_clock_ends_a_search_and_a_resumed_one_needs_no_clock(shape: tuple[int, int]) -> None:
    hours = 40 * SECONDS_PER_REPORT / HOUR
    settings: dict[str, Any] = {
        "num_trials": 1000, "commands": {}, "budget": Budget(max_hours=hours)
    }  # fmt: skip
    calm = search(folder := Folder(), shape, **settings)
    kinds = [type(each) for each in events(folder)]
    assert kinds[0] is NoNewTrials
    assert set(kinds[1:]) <= {TimeIsUp}
    assert len(calm.log) < 40 + 2 * 4, "what runs is stopped at its next rung"
    assert any(entry[2] == FULL for entry in calm.log)
    del folder.files["time.json"]  # its hours begin anew, its record does not
    again = search(folder, shape, Random(0).randrange, reports=len(calm.log), **settings)
    assert again.log == calm.log


def test_hours_count_over_all_processes_and_may_be_added() -> None:
    hours = 30 * SECONDS_PER_REPORT / HOUR
    settings: dict[str, Any] = {
        "num_trials": 1000, "commands": {}, "budget": Budget(max_hours=hours)
    }  # fmt: skip
    folder = Folder()
    part = search(folder, **settings)
    send(folder, SetBudget(budget=Budget(max_hours=3 * hours)))  # type: ignore[arg-type]
    whole = search(folder, reports=len(part.log), **settings)
    assert whole.log[: len(part.log)] == part.log
    assert len(whole.log) > len(part.log) + 10
    assert len(whole.log) < 3 * 30 + 8


def test_a_budget_too_short_for_any_trial_is_told() -> None:
    hours = 9 * SECONDS_PER_REPORT / HOUR
    found = search(Folder(), commands={}, num_trials=50, budget=Budget(max_hours=hours))
    told = [note for note in found.notes if "a full-length trial takes about" in note]
    assert "more than --max-hours 0.005 allows; raise it" in told[0]
