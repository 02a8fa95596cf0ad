"""A thin trial asks, hands on, remembers how far it is, and can become another trial."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from packing.simulator import SIZE, config_of, reported
from perft.errors import SearchError, StorageError
from perft.packing.messages import Failed, GroupStatus, SearchOver
from perft.searching.tune import thin_trial, tune_callback
from perft.searching.tune.thin_trial import ThinTrial
from perft.searching.tune.tune_callback import TuneCallback
from perft.searching.tune.tune_dicts import DONE, Proposal, from_result, to_result
from perft.trial import TrialConfig

FULL = 20


class Meeting:
    """Stands for the handle of the coordinator: what is called is noted and answered."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers = answers

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append((method, *args))
            found = self._answers.get(method)
            return found.pop(0) if isinstance(found, list) else found

        return call


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, Meeting]:
    """Meeting points are found that are put in here."""
    meetings: dict[str, Meeting] = {}
    find: Callable[[str, str], Meeting] = lambda name, space: meetings[f"{space}/{name}"]  # noqa: E731
    monkeypatch.setattr(thin_trial.CoordinatorHandle, "find", find)
    return meetings


def trial_config(number: int) -> TrialConfig:
    return config_of(FULL, number)


def config(number: int) -> dict[str, Any]:
    proposal = Proposal(number=number, trial=trial_config(number), coordinator="m", namespace="n")
    return proposal.to_tune()


def result(number: int, step: int, *, done: bool) -> dict[str, Any]:
    """What Tune makes of a report."""
    return {**to_result(reported(step), trial_config(number)), DONE: done}


def made(coordinator: Meeting, meetings: dict[str, Meeting]) -> ThinTrial:
    meetings["n/m"] = coordinator
    trial = ThinTrial.__new__(ThinTrial)  # Tune's own constructor opens log folders
    trial.setup(config(7))
    return trial


def test_reports_become_tune_results(no_ray: dict[str, Meeting]) -> None:
    coordinator = Meeting(next_report=[reported(10, 0.5), reported(20, 0.25)])
    trial = made(coordinator, no_ray)
    first, last = trial.step(), trial.step()
    assert first["step"] == 10
    assert first["val_loss"] == 0.5
    assert from_result(first) == reported(10, 0.5)
    assert from_result(first).size == SIZE
    assert not first["done"]
    assert last["done"]
    assert last["val_loss"] == 0.25
    asked = trial_config(7)
    assert coordinator.calls == [
        ("next_report", 7, asked, 0, None),
        ("next_report", 7, asked, 10, None),
    ]


def test_a_process_that_becomes_another_trial_starts_anew(no_ray: dict[str, Meeting]) -> None:
    coordinator = Meeting(next_report=[reported(10), reported(10)])
    trial = made(coordinator, no_ray)
    trial.step()
    assert trial.reset_config(config(8))
    trial.step()
    assert coordinator.calls[-1] == ("next_report", 8, trial_config(8), 0, None)


@pytest.mark.parametrize("said", [SearchOver("no base"), Failed("no base")])
def test_failures_are_raised_with_their_reason(
    no_ray: dict[str, Meeting], said: Failed | SearchOver
) -> None:
    trial = made(Meeting(next_report=[said]), no_ray)
    with pytest.raises(SearchError, match="no base"):
        trial.step()


@dataclass
class Trials:
    """Stands for the agenda: trials of the search, those that were proposed, and that run."""

    num_trials: int
    proposed: int = 0
    running: int = 0
    is_over: bool = False

    def propose(self, callback: TuneCallback) -> None:
        self.proposed, self.running = self.proposed + 1, self.running + 1
        callback.proposed()


def calling_back(
    ledger: Any, view: Any, coordinator: Any, trials: Any, interventions: Any = None
) -> TuneCallback:
    """The callback of a search that trains two trials at a time."""
    given = Book() if interventions is None else interventions
    return TuneCallback(ledger, view, coordinator, trials, interventions=given, trials_at_once=2)


class Book:
    """Stands for the ledger and the view: writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, method: str) -> Any:
        return lambda *args: self.calls.append((method, *args))


def test_what_tune_says_goes_to_the_meeting_and_the_ledger() -> None:
    coordinator = Meeting(failure_of="the loss is nan", status=GroupStatus())
    ledger, view = Book(), Book()
    trials = Trials(1)
    callback = calling_back(ledger, view, coordinator, trials)
    trials.propose(callback)
    trial = SimpleNamespace(config=config(7))
    callback.on_trial_start(0, [], trial)
    callback.on_trial_result(0, [], trial, result(7, 10, done=False))
    callback.on_trial_complete(0, [], trial)
    callback.on_trial_error(0, [], trial)
    started = ("start", 7, trial_config(7), {}, None)
    assert ledger.calls == [
        started,
        ("report", 7, reported(10)),
        ("end", 7),
        started,
        ("end", 7, "the loss is nan"),
    ]
    assert coordinator.calls == [
        ("processed", 7, 10),
        ("ended", 7),
        ("status",),
        ("failure_of", 7),
        ("ended", 7),
    ]
    assert [call[0] for call in view.calls] == ["reported", "ended", "ended"]


def test_a_trial_whose_process_died_has_a_reason_too() -> None:
    ledger = Book()
    coordinator = Meeting(failure_of="", status=GroupStatus())
    callback = calling_back(ledger, Book(), coordinator, Trials(1))
    callback.on_trial_error(0, [], SimpleNamespace(config=config(7)))
    assert ledger.calls[-1] == ("end", 7, "the trial's process died")


def test_when_no_group_can_work_the_search_ends_and_no_trial_has_failed() -> None:
    ledger, coordinator = Book(), Meeting(status=GroupStatus(fatal="the disk is full"))
    callback = calling_back(ledger, Book(), coordinator, Trials(1))
    callback.on_trial_error(0, [], SimpleNamespace(config=config(7)))
    assert str(callback.failure) == "the disk is full"
    assert callback.is_over()
    assert ledger.calls == []


def test_that_no_group_can_work_is_noticed_while_all_trials_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tune_callback, "LOOK_SECONDS", 0.0)
    coordinator = Meeting(status=[GroupStatus(), GroupStatus(fatal="the disk is full")])
    callback = calling_back(Book(), Book(), coordinator, Trials(1))
    assert not callback.is_over()
    assert callback.is_over()


def test_a_book_that_cannot_be_written_ends_the_search() -> None:
    class Full(Book):
        def end(self, number: int) -> None:
            raise StorageError("the disk is full")

    coordinator = Meeting()
    callback = calling_back(Full(), Book(), coordinator, Trials(1))
    callback.on_trial_complete(0, [], SimpleNamespace(config=config(7)))
    assert str(callback.failure) == "the disk is full"
    assert callback.is_over()
    assert coordinator.calls == []


def test_of_an_end_the_meeting_hears_when_the_next_trial_is_proposed() -> None:
    coordinator, agenda = Meeting(), Trials(4)
    callback = calling_back(Book(), Book(), coordinator, agenda)
    trials = [SimpleNamespace(config=config(number)) for number in range(4)]
    agenda.propose(callback)
    agenda.propose(callback)
    callback.on_trial_result(0, [], trials[0], result(0, FULL, done=True))
    agenda.running -= 1
    callback.on_trial_complete(0, [], trials[0])
    assert coordinator.calls == []
    agenda.propose(callback)
    assert coordinator.calls == [("ended", 0)]
    agenda.running -= 1
    callback.on_trial_complete(0, [], trials[1])
    assert coordinator.calls == [("ended", 0)]
    agenda.propose(callback)
    assert coordinator.calls == [("ended", 0), ("ended", 1)]
    agenda.running -= 1
    callback.on_trial_complete(0, [], trials[2])
    assert coordinator.calls[-1] == ("ended", 2), "nothing comes in its place"


def test_of_a_report_the_meeting_hears_when_all_that_can_be_are_proposed() -> None:
    coordinator, agenda = Meeting(), Trials(1)
    callback = calling_back(Book(), Book(), coordinator, agenda)
    agenda.propose(callback)
    agenda.num_trials = 3  # the user has added two, and one has room
    callback.on_trial_result(0, [], SimpleNamespace(config=config(0)), result(0, 10, done=False))
    assert coordinator.calls == [("expect", 3)]
    agenda.propose(callback)
    assert coordinator.calls == [("expect", 3), ("processed", 0, 10)]


def test_commands_come_before_a_report_and_when_all_have_ended() -> None:
    told, agenda = Book(), Trials(1)
    callback = calling_back(Book(), Book(), Meeting(), agenda, told)
    agenda.propose(callback)
    callback.before_result("abc", 10)
    assert told.calls == [("before_report", "abc", 10)]
    agenda.running, agenda.is_over = 0, True
    callback.on_trial_complete(0, [], SimpleNamespace(config=config(0)))
    assert told.calls[1:] == [("before_end",)]


def test_a_record_that_cannot_be_written_ends_the_search() -> None:
    class Full(Book):
        def before_report(self, trial_id: str, step: int) -> None:
            raise StorageError("the disk is full")

    callback = calling_back(Book(), Book(), Meeting(), Trials(1), Full())
    callback.before_result("abc", 10)
    assert str(callback.failure) == "the disk is full"
    assert callback.is_over()


def test_the_meeting_hears_of_more_trials_before_the_report_is_acted_on() -> None:
    coordinator, trials = Meeting(), Trials(1)
    callback = calling_back(Book(), Book(), coordinator, trials)
    trials.propose(callback)
    trials.propose(callback)
    trials.num_trials = 3
    callback.on_trial_result(0, [], SimpleNamespace(config=config(7)), result(7, 10, done=False))
    assert coordinator.calls == [("expect", 3), ("processed", 7, 10)]
