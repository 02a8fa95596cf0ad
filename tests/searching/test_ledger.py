"""The search's book: what Tune says of trials, in results, in tracking and for the view."""

from pathlib import Path

import pytest

import pretend
from perft.packing.messages import Reported
from perft.search_folder import ADAPTERS, trial_folder
from perft.searching.ledger import Ledger
from perft.selection import read_results
from perft.storage import Storage
from perft.tracking.records import TrialRecord
from perft.trial import AdapterSize, Report, TrialConfig, TrialResult

FULL = 200
SIZE = AdapterSize(trainable=2000, activated=1000, base_activated=2_000_000)


class Recorder:
    """A tracker that writes down what it is told."""

    def __init__(self) -> None:
        self.runs: dict[int, str] = {}
        self.reports: list[tuple[int, int]] = []
        self.finished: dict[int, tuple[TrialResult, str]] = {}
        self.known: dict[int, TrialRecord] = {}
        self.is_away = False

    def trial(self, number: int) -> TrialRecord | None:
        return self.known.get(number)

    def start_trial(self, number: int, config: TrialConfig, *_about: object) -> None:
        assert number not in self.runs
        self.runs[number] = f"run-{number}"

    def run_id(self, number: int) -> str:
        return "" if self.is_away else self.runs[number]

    def report(self, number: int, size: AdapterSize, report: Report) -> None:
        assert size == SIZE
        self.reports.append((number, report.step))

    def end_trial(self, result: TrialResult, adapter: str) -> None:
        self.finished[result.number] = result, adapter


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path)).prepare()


@pytest.fixture
def tracker() -> Recorder:
    return Recorder()


@pytest.fixture
def ledger(search: Storage, tracker: Recorder) -> Ledger:
    return Ledger(search, tracker)  # type: ignore[arg-type]


def config(number: int) -> TrialConfig:
    return pretend.trial(number).config


def go(ledger: Ledger, number: int, *steps: int) -> None:
    ledger.start(number, config(number))
    for step in steps:
        ledger.report(number, Reported(pretend.report(step, 100), SIZE))


def test_what_an_earlier_process_recorded_is_repeated(ledger: Ledger, tracker: Recorder) -> None:
    reports = tuple((0, pretend.report(step, 100)) for step in (50, 100))
    tracker.known[0] = TrialRecord(
        number=0, config=config(0), started=0, reports=reports, outcome="pruned"
    )
    tracker.known[1] = TrialRecord(number=1, config=config(1), started=0, reports=reports)
    for number in (0, 1, 2):
        go(ledger, number, 50, 100)
        assert ledger.entries[number].is_repeated == (number < 2)
        assert ledger.end(number).is_repeated == (number == 0)
    go(ledger, 3, 50)
    assert not ledger.entries[3].is_repeated


def test_a_full_length_trial_is_complete_and_keeps_its_adapter(
    ledger: Ledger, tracker: Recorder, search: Storage
) -> None:
    go(ledger, 3, 50, FULL)
    entry = ledger.end(3)
    assert entry.outcome == "complete"
    assert tracker.finished[3][0].outcome == "complete"
    assert tracker.finished[3][1] == f"{ADAPTERS}/{trial_folder(3)}"
    assert tracker.reports == [(3, 50), (3, FULL)]
    assert read_results(search) == ledger.results() == [entry.result()]
    assert entry.result().run_id == "run-3"


def test_a_trial_that_ends_earlier_is_pruned_and_has_no_adapter(
    ledger: Ledger, tracker: Recorder
) -> None:
    go(ledger, 0, 50)
    assert ledger.end(0).outcome == "pruned"
    assert tracker.finished[0][1] == ""


@pytest.mark.parametrize("steps", [(), (50,), (50, FULL)])
def test_a_trial_with_an_error_failed_however_far_it_came(
    ledger: Ledger, search: Storage, steps: tuple[int, ...]
) -> None:
    go(ledger, 0, *steps)
    assert ledger.end(0, "the loss is nan").outcome == "failed"
    (result,) = read_results(search)
    assert result.error == "the loss is nan"
    assert [report.step for report in result.reports] == list(steps)
    assert (result.size is None) == (not steps)


def test_what_is_said_twice_counts_once(ledger: Ledger) -> None:
    go(ledger, 0, 50)
    go(ledger, 0, 50)
    assert [report.step for report in ledger.entries[0].reports] == [50]


def test_results_are_the_ended_trials_by_number(ledger: Ledger, search: Storage) -> None:
    for number in (2, 0, 1):
        go(ledger, number, 50)
    ledger.end(2)
    ledger.end(0)
    assert [result.number for result in ledger.results()] == [0, 2]
    assert read_results(search) == ledger.results()
    assert ledger.results()[0].config == config(0)
    assert ledger.results()[0].size == SIZE


def test_runs_that_mlflow_is_told_of_late_are_noted(
    ledger: Ledger, tracker: Recorder, search: Storage
) -> None:
    tracker.is_away = True
    go(ledger, 0, 50)
    ledger.end(0)
    assert [result.run_id for result in read_results(search)] == [""]
    tracker.is_away = False
    go(ledger, 1, 50)
    ledger.complete_runs()
    assert [result.run_id for result in read_results(search)] == ["run-0"]
    tracker.is_away = True
    ledger.end(1)
    assert [result.run_id for result in read_results(search)] == ["run-0", ""]
