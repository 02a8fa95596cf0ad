"""The search's record of every trial, its reports and its outcome.

It writes `results.json` and sends to the tracker as trials run; the live view shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perft.files import Json
from perft.masking import masked
from perft.packing.messages import Reported
from perft.search_folder import adapter_folder
from perft.selection import result_line, write_results
from perft.storage import Storage
from perft.tracking import Recorder
from perft.trial import AdapterSize, Origin, Outcome, Report, TrialConfig, TrialResult


@dataclass
class Entry:
    """One trial so far.

    Attributes:
        known_reports: how many of its reports an earlier process has recorded.
        was_ended: whether an earlier process has recorded its end.
        line: of `results.json`, once it has ended; kept for rewrites.
    """

    number: int
    config: TrialConfig
    params: Mapping[str, Json] = field(default_factory=dict)
    origin: Origin | None = None
    run_id: str = ""  # until the tracker has the trial
    reports: list[Report] = field(default_factory=list)
    size: AdapterSize | None = None
    outcome: Outcome | None = None
    error: str = ""
    line: str = ""
    known_reports: int = 0
    was_ended: bool = False

    @property
    def is_repeated(self) -> bool:
        """Whether a process that ran the search earlier has recorded all of this."""
        return self.was_ended if self.outcome else len(self.reports) <= self.known_reports

    @property
    def is_full_length(self) -> bool:
        """Whether its last report is at its full length."""
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
            params=self.params,
            origin=self.origin,
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

    def start(
        self,
        number: int,
        config: TrialConfig,
        params: Mapping[str, Json] | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Adds a trial that has started; repeated calls change nothing.

        Args:
            number: the trial's.
            config: its configuration.
            params: the parameters that it was drawn with.
            origin: where it comes from if the sampler did not draw it.
        """
        if number not in self.entries:
            entry = Entry(number, config, params or {}, origin)
            if known := self._recorder.trial(number):
                entry.known_reports = len(known.reports)
                entry.was_ended = known.outcome is not None
            self._recorder.start_trial(number, config, entry.params, origin)
            self.entries[number] = entry

    def report(self, number: int, reported: Reported) -> Entry:
        """Adds a trial's report."""
        entry, report = self.entries[number], reported.report
        entry.size = reported.size
        if not any(known.step == report.step for known in entry.reports):
            entry.reports.append(report)
        self._recorder.report(number, entry.size, report)
        return entry

    def end(self, number: int, error: str | None = None) -> Entry:
        """Ends a trial; `error` says why it failed, None if it did not."""
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
        """Adds run ids that the tracker has given since the trials ended."""
        if self._look_up_runs():
            self._write()

    def stopped(self) -> None:
        """Ends the runs of a search that the user has stopped."""
        self._recorder.finish("KILLED")

    @property
    def recorded_reports(self) -> int:
        """Reports and failures of all trials that any process of the search has recorded."""
        return self._recorder.reports

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
        """Adds the run ids that are known now; whether any is new."""
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
