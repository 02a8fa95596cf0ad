"""What a user commands is applied once, at one moment, and there again when a search resumes."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import pretend
from perft.errors import ConfigError, DamagedError, StorageError
from perft.search_folder import COMMANDS, EVENTS_FILE
from perft.searching.steering import event_log
from perft.searching.steering.budget import Budget
from perft.searching.steering.event_log import LOOK_SECONDS, EventLog, recorded, send, waiting
from perft.searching.steering.events import (
    AddTrial,
    ClockDecision,
    Command,
    Event,
    Moment,
    NoNewTrials,
    SetBudget,
    SetNumTrials,
    StopTrial,
    TimeIsUp,
)
from perft.storage import Storage

SETTINGS = pretend.trial(0).config.to_flat()
ACTIONS: tuple[Command | ClockDecision, ...] = (
    StopTrial(trial=3),
    AddTrial(settings=SETTINGS),
    AddTrial(settings=SETTINGS, clone_of=2),
    SetNumTrials(count=20),
    SetBudget(budget=Budget(max_hours=2.5, max_steps_total=4000)),
    NoNewTrials(reason="3 min left"),
    TimeIsUp(reason="used up"),
)
Clock = Callable[[], float]


@pytest.fixture(params=["directory", "file URI"])
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path) if request.param == "directory" else tmp_path.as_uri())


def seconds() -> Clock:
    """A clock that goes on between two looks; each reads it twice, and takes no time."""
    return (2 * LOOK_SECONDS * (reading // 2) for reading in itertools.count()).__next__


def a_log(search: Storage, reports: int = 0, told: list[str] | None = None) -> EventLog:
    return EventLog(search, reports, (told if told is not None else []).append, seconds())


def running(reports: int) -> Moment:
    return Moment(reports, is_running=True)


def moments(count: int) -> list[Moment]:
    """The moments of a search that comes to its end after so many reports."""
    return [*map(running, range(count)), Moment(count, is_running=False)]


def actions(events: Sequence[Event]) -> list[Command | ClockDecision]:
    return [event.action for event in events]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_an_event_is_read_as_it_was_written(action: Command | ClockDecision) -> None:
    event = Event(at=Moment(4, is_running=True), action=action, command="0012")
    assert Event.from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"do": "halt"}, "unknown do 'halt'"),
        ({"do": None}, "do must be text"),
        ({"trial": -1}, "trial must be a whole number of at least 0"),
        ({"trial": "3"}, "trial must be a whole number"),
        ({"reports": -1}, "reports must be"),
        ({"reports": True}, "reports must be"),
        ({"is_running": 1}, "is_running must be true or false"),
        ({"count": 1}, "unknown field 'count'"),
        ({"command": None}, "command must be text"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], reason: str) -> None:
    good = Event(at=running(2), action=StopTrial(trial=3)).to_json()
    with pytest.raises(ConfigError, match=reason):
        Event.from_json({**good, **change})


def test_a_configuration_is_checked_when_it_is_read() -> None:
    flat = Event(at=running(0), action=AddTrial(settings=SETTINGS)).to_json()
    with pytest.raises(ConfigError, match="rank"):
        Event.from_json({**flat, "settings": {**SETTINGS, "rank": 0}})


def test_commands_are_applied_once_in_the_order_of_sending(search: Storage) -> None:
    log = a_log(search)
    for command in (first := StopTrial(trial=1), second := SetNumTrials(count=9)):
        send(search, command)
    assert list(waiting(search).values()) == [first, second]
    assert actions(log.due(running(0))) == [first, second]
    assert waiting(search) == {}
    assert search.names(COMMANDS) == []
    assert log.due(running(1)) == []
    send(search, third := StopTrial(trial=2))
    assert actions(log.due(running(2))) == [third]
    assert [event.at.reports for event in recorded(search)] == [0, 0, 2]


def test_a_resumed_search_applies_them_at_the_same_moments(search: Storage) -> None:
    log, first = a_log(search), {}
    decisions = {4: [NoNewTrials(reason="late")]}
    for moment in moments(6):
        if moment.reports in (2, 5):
            send(search, StopTrial(trial=moment.reports))
        first[moment] = list(log.due(moment, lambda at=moment: decisions.get(at.reports, ())))
    assert sum(map(len, first.values())) == 3
    send(search, late := SetNumTrials(count=30))
    again = a_log(search, reports=6)
    repeated = {moment: list(again.due(moment)) for moment in moments(6)}
    assert actions(repeated.pop(moments(6)[-1])) == [late], (
        "new ones only where nothing is repeated"
    )
    del first[moments(6)[-1]]
    assert repeated == first
    assert actions(again.due(running(6))) == []
    assert actions(recorded(search))[-1] == late


def test_a_search_of_which_nothing_was_recorded_takes_commands_where_it_had_come_to(
    search: Storage,
) -> None:
    send(search, StopTrial(trial=0))
    log = a_log(search, reports=3)
    assert [len(log.due(moment)) for moment in map(running, range(5))] == [0, 0, 0, 1, 0]


def test_the_end_and_the_next_report_are_two_moments(search: Storage) -> None:
    log = a_log(search)
    send(search, SetNumTrials(count=8))
    assert len(log.due(Moment(5, is_running=False))) == 1
    send(search, StopTrial(trial=1))
    assert len(log.due(running(5))) == 1
    again = a_log(search, reports=5)
    assert actions(again.due(Moment(5, is_running=False))) == [SetNumTrials(count=8)]
    assert actions(again.due(running(5))) == [StopTrial(trial=1)]


@pytest.mark.parametrize("dies", ["before", "after"], ids=lambda when: f"{when} the record")
def test_a_search_that_dies_while_it_takes_a_command_takes_it_once(
    search: Storage, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    send(search, command := SetNumTrials(count=7))
    log = a_log(search)
    with monkeypatch.context() as patch:

        def die(_self: Storage, name: str, *_data: bytes) -> None:
            raise KeyboardInterrupt

        patch.setattr(Storage, "write" if dies == "before" else "delete", die)
        with pytest.raises(KeyboardInterrupt):
            log.due(running(2))
    assert len(recorded(search)) == (dies == "after")
    assert len(waiting(search)) == (dies == "before")
    again = a_log(search, reports=2)
    found = [actions(again.due(running(reports))) for reports in range(4)]
    assert found == [[], [], [command], []]
    assert waiting(search) == {}
    assert search.names(COMMANDS) == []


def test_it_looks_for_commands_now_and_then_only(
    search: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = 0.0, 0
    whole = event_log.waiting

    def look(folder: Storage) -> dict[str, Command | ConfigError]:
        nonlocal now, looks
        looks, now = looks + 1, now + 0.5  # a slow storage
        return whole(folder)

    monkeypatch.setattr(event_log, "waiting", look)
    log = EventLog(search, 0, print, lambda: now)
    for reports in range(150):
        log.due(running(reports))
        now += 0.1
    assert looks == 2, "15 seconds, and a pause of 20 times half a second"
    send(search, StopTrial(trial=0))
    assert len(log.due(Moment(150, is_running=False))) == 1, "at the end it looks at once"


def test_a_damaged_command_is_told_and_ignored(search: Storage) -> None:
    search.write(f"{COMMANDS}/1.json", b'{"do": "stop"}')
    search.write(f"{COMMANDS}/2.json", b'{"do": ')
    search.write(f"{COMMANDS}/notes.txt", b"mine")
    send(search, StopTrial(trial=1))
    told: list[str] = []
    damaged = [isinstance(each, ConfigError) for each in waiting(search).values()]
    assert sorted(damaged) == [False, True, True]
    assert actions(a_log(search, told=told).due(running(0))) == [StopTrial(trial=1)]
    assert "commands/1.json: trial is missing" in told[0]
    assert "commands/2.json: " in told[1]
    assert search.names(COMMANDS) == ["notes.txt"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [lines[0], lines[1][:-20]],
        lambda lines: [lines[1], lines[0]],
        lambda lines: [*lines, "[]"],
        lambda lines: [lines[0].replace("stop", "halt")],
    ],
    ids=["truncated", "swapped", "no object", "another word"],
)
def test_a_damaged_record_is_refused(
    search: Storage, spoil: Callable[[list[str]], list[str]]
) -> None:
    log = a_log(search)
    for reports in (1, 2):
        send(search, StopTrial(trial=reports))
        log.due(running(reports))
    lines = search.read(EVENTS_FILE).decode().splitlines()
    search.write(EVENTS_FILE, "\n".join(spoil(lines)).encode())
    with pytest.raises(DamagedError, match=r"events.jsonl is damaged in line \d: .*put it back"):
        a_log(search)


def test_a_storage_that_stays_away_ends_the_search(
    search: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(search, StopTrial(trial=0))
    log = a_log(search)

    def away(_self: Storage, name: str, _data: bytes) -> None:
        raise StorageError("cannot write")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", away)
        with pytest.raises(StorageError):
            log.due(running(0))
    assert len(waiting(search)) == 1
