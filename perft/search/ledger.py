"""The search's own book: every trial with its reports and how it ended, in one place.

It writes `results.json` and tells the tracker as trials go on, and is what the live view shows.
"""

from dataclasses import dataclass, field

from perft.masking import masked
from perft.packing.messages import Reported
from perft.search_folder import adapter_folder
from perft.selection import result_line, write_results
from perft.storage import Storage
from perft.tracking import Recorder
from perft.trial import AdapterSize, Outcome, Report, TrialConfig, TrialResult


@dataclass
class Entry:
    """One trial so far."""

    number: int
    config: TrialConfig
    run_id: str = ""  # until the tracker has been told of the trial
    reports: list[Report] = field(default_factory=list)
    size: AdapterSize | None = None
    outcome: Outcome | None = None
    error: str = ""
    line: str = ""  # of `results.json`, once it has ended: made once, written with every later end

    @property
    def is_full_length(self) -> bool:
        """Whether its last report is that of its full length."""
        training = self.config.training
        return bool(self.reports) and training.is_full_length(self.reports[-1].step)

    def result(self) -> TrialResult:
        """The ended trial."""
        assert self.outcome is not None
        return TrialResult(
            number=self.number,
            config=self.config,
            outcome=self.outcome,
            reports=tuple(self.reports),
            size=self.size,
            run_id=self.run_id,
            error=self.error,
        )


class Ledger:
    """Trials of one search.

    Args:
        search: the search's folder.
        recorder: keeps the records of the search.
    """

    def __init__(self, search: Storage, recorder: Recorder) -> None:
        self._search = search
        self._recorder = recorder
        self.entries: dict[int, Entry] = {}

    def start(self, number: int, config: TrialConfig) -> None:
        """A trial has begun; repeated calls change nothing."""
        if number not in self.entries:
            self._recorder.start_trial(number, config)
            self.entries[number] = Entry(number, config)

    def report(self, number: int, reported: Reported) -> Entry:
        """A trial has reached a rung."""
        entry, report = self.entries[number], reported.report
        entry.size = reported.size
        if not any(known.step == report.step for known in entry.reports):
            entry.reports.append(report)
        self._recorder.report(number, entry.size, report)
        return entry

    def end(self, number: int, error: str | None = None) -> Entry:
        """A trial has ended; `error` says why it failed, None that it did not."""
        entry = self.entries[number]
        if error is not None:
            entry.outcome, entry.error = "failed", masked(error)
        else:
            entry.outcome = "complete" if entry.is_full_length else "pruned"
        self._recorder.end_trial(entry.result(), self._adapter(entry))
        entry.line = result_line(entry.result())
        self._look_up_runs()
        self._write()
        return entry

    def complete_runs(self) -> None:
        """Notes the runs of trials that the tracker has been told of since they ended."""
        if self._look_up_runs():
            self._write()

    def stopped(self) -> None:
        """The user has stopped the search: its runs end."""
        self._recorder.finish("KILLED")

    @property
    def reports(self) -> int:
        """Reports of all trials so far."""
        return sum(len(entry.reports) for entry in list(self.entries.values()))

    def results(self) -> list[TrialResult]:
        """The trials that have ended, by number."""
        return [entry.result() for entry in self._ended()]

    def _ended(self) -> list[Entry]:
        ended = [entry for entry in self.entries.values() if entry.outcome is not None]
        return sorted(ended, key=lambda entry: entry.number)

    def _write(self) -> None:
        write_results(self._search, (each.line for each in self._ended()))

    def _look_up_runs(self) -> bool:
        """Whether there were new ones."""
        new = [
            entry
            for entry in self._ended()
            if not entry.run_id and self._recorder.run_id(entry.number)
        ]
        for entry in new:
            entry.run_id = self._recorder.run_id(entry.number)
            entry.line = result_line(entry.result())
        return bool(new)

    def _adapter(self, entry: Entry) -> str:
        """The folder of a full-length trial's adapter, in the search's folder."""
        return adapter_folder(entry.number) if entry.outcome == "complete" else ""
