"""Records a search while it runs: in its folder, and from there in a tracker.

Every call may be repeated, also by another process after a resume: it records nothing twice. One
process at a time records a search.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from perft.base_score import BaseScore
from perft.errors import StorageError
from perft.files import Json
from perft.search_folder import RECORDS, SENT
from perft.storage import Storage
from perft.tracking.datasets import Dataset
from perft.tracking.records import Records, Status, TrialRecord, now
from perft.tracking.sender import PATIENCE_SECONDS, Sender, reason
from perft.tracking.source import source
from perft.tracking.tracker import Runs
from perft.tracking.tracking import Tracking
from perft.trial import AdapterSize, Origin, Report, SplitScores, TrialConfig, TrialResult

if TYPE_CHECKING:
    from perft.selection import Confirmed

_UNSAID_SECONDS = 1.0  # shorter waits are not announced


class Recorder:
    """The record of one search. Only `wait` and `close` wait for the tracker.

    Args:
        tracking: of the search.
        records: of the search.
        runs: its runs; None if they could not be opened, which the user has been told.

    Raises:
        StorageError: from every method, if the search's folder cannot be written.
    """

    def __init__(self, tracking: Tracking, records: Records, runs: Runs | None) -> None:
        self._tracking = tracking
        self._records = records
        self._sender = Sender(lambda: tracking.open(records), runs, self._say_away, self._say_back)

    @classmethod
    def start(cls, tracking: Tracking) -> "Recorder":
        """Starts the record of a new search.

        Raises:
            StorageError: if the tracker or the folder cannot be written.
        """
        records = Records(tracking.folder, replace(tracking.fresh(), source=source()))
        records.keep_search(records.search)
        return cls(tracking, records, tracking.open(records))

    @classmethod
    def resume(cls, tracking: Tracking) -> "Recorder":
        """Resumes the record of a search.

        Sends all records in its folder again. If the tracker cannot be written now, tells the user
        and tries again later.

        Raises:
            StorageError: if the folder cannot be read or written.
        """
        records = Records.read(tracking.folder, tracking.fresh())
        tracking.folder.delete(SENT)
        records.keep_search(replace(records.search, status="RUNNING", ended=None))
        recorder = cls(tracking, records, _try_runs(tracking, records))
        recorder._send_all()
        return recorder

    @classmethod
    def catch_up(cls, tracking: Tracking) -> "Recorder":
        """Sends the records of a search that is not running.

        Runs of a search that did not end become KILLED, at the time of its last record.

        Raises:
            StorageError: if the tracker cannot be written, or the folder not read or written.
        """
        records = Records.read(tracking.folder, tracking.fresh())
        if records.search.status == "RUNNING":
            ended = replace(records.search, status="KILLED", ended=records.latest)
            records.keep_search(ended)
        recorder = cls(tracking, records, tracking.open(records))
        recorder._send_all()
        return recorder

    @property
    def reports(self) -> int:
        """Reports that are recorded, also by earlier processes, and trials that have failed."""
        trials = self._records.trials.values()
        return sum(len(trial.reports) + (trial.outcome == "failed") for trial in trials)

    def trial(self, number: int) -> TrialRecord | None:
        """What is recorded of a trial, also by earlier processes."""
        return self._records.trials.get(number)

    def run_id(self, number: int) -> str:
        """The tracker's id of the trial's run; empty if there is none yet."""
        return self._sender.run_ids.get(number, "")

    def log_params(self, params: Mapping[str, object], datasets: Collection[Dataset] = ()) -> None:
        """Records the search's settings and data, once all of them are known."""
        search = replace(self._records.search, params=params, datasets=tuple(datasets))
        self._records.keep_search(search)
        self._send_search()

    def start_trial(
        self,
        number: int,
        config: TrialConfig,
        params: Mapping[str, Json] | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Records that a trial has started."""
        if number not in self._records.trials:
            self._keep(
                TrialRecord(
                    number=number, config=config, started=now(), params=params or {}, origin=origin
                )
            )

    def report(self, number: int, size: AdapterSize, report: Report) -> None:
        """Records a trial's report; of several for one step, the first."""
        trial = self._records.trials[number]
        if all(known.step != report.step for _, known in trial.reports):
            self._keep(replace(trial, size=size, reports=(*trial.reports, (now(), report))))

    def end_trial(self, result: TrialResult, adapter: str = "") -> None:
        """Records that a trial has ended.

        Args:
            result: its result.
            adapter: folder of its adapter in the search's folder, for a full-length trial.
        """
        trial = self._records.trials[result.number]
        if (trial.outcome, trial.error) != (result.outcome, result.error):
            self._keep(
                replace(
                    trial,
                    outcome=result.outcome,
                    error=result.error,
                    ended=now(),
                    adapter=adapter,
                )
            )
            self._send_search()

    def finish(
        self,
        status: Status,
        *,
        front: Collection[int] | None = None,
        files: Collection[str] = (),
        scores: Mapping[int, SplitScores] | None = None,
        predictions: Mapping[int, str] | None = None,
        base: BaseScore | None = None,
        confirmed: "Mapping[int, Confirmed] | None" = None,
        seconds: float | None = None,
        gpu_seconds: float | None = None,
    ) -> None:
        """Records that the search has ended, with every trial that has not.

        Args:
            status: of the search's run.
            front: numbers of the trials on the Pareto front, which tags every trial; None to leave
                the tags.
            files: names of files in the search's folder to upload to its run.
            scores: correct and scored examples by trial and test split.
            predictions: by trial, the folder of the predictions that were scored.
            base: the score of the base alone; None to leave what is known of it.
            confirmed: by trial of the front, its trainings with other seeds.
            seconds: for which the search has run; None to leave what is known of it.
            gpu_seconds: the same, times its GPUs.
        """
        search = self._records.search
        self._records.keep_search(
            replace(
                search,
                status=status,
                ended=search.ended or now(),
                front=search.front if front is None else tuple(sorted(front)),
                files=tuple(files),
                scores=scores or {},
                predictions=predictions or {},
                base=base or search.base,
                confirmed=confirmed or {},
                seconds=search.seconds if seconds is None else seconds,
                gpu_seconds=search.gpu_seconds if gpu_seconds is None else gpu_seconds,
            )
        )
        self._send_all()

    def wait(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Waits like `close`, but not if the tracker is away; whether it has all records."""
        return not self._sender.is_away and self._sender.wait(patience)

    def close(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Waits until the tracker has all records, while it accepts any.

        Args:
            patience: seconds without a successful send, after which it gives up and tells the user.

        Returns:
            Whether the tracker has all records.
        """
        if not self._sender.wait(min(patience, _UNSAID_SECONDS)):
            title = self._tracking.tracker.title
            self._tracking.tell(
                f"sending {title} the last records; it has {patience:.0f} s for each"
            )
        is_sent = self._sender.wait(patience)
        self._sender.close()
        if is_sent:
            if self._records.search.status != "RUNNING":
                self._records.folder.write(SENT, b"")
        else:
            place = f"{self._records.folder.shown}/{RECORDS}"
            self._tracking.tell(
                f"{self._tracking.at} has not all records ({self._sender.why}); they "
                f"are kept in {place}; send them when it answers, by: {self._tracking.later()}"
            )
        return is_sent

    def send_files(self) -> None:
        """Uploads the changed files of the search's run again."""
        self._send_search()

    def _keep(self, trial: TrialRecord) -> None:
        self._records.keep(trial)
        self._send_trial(trial.number)

    def _send_all(self) -> None:
        for number in self._records.trials:
            self._send_trial(number)
        self._send_search()

    def _send_trial(self, number: int) -> None:
        trial, search = self._records.trials[number], self._records.search
        self._sender.put(number, lambda runs: runs.send_trial(trial, search))

    def _send_search(self) -> None:
        search, trials = self._records.search, dict(self._records.trials)
        self._sender.put(None, lambda runs: runs.send_search(search, trials))

    def _say_away(self) -> None:
        tracking = self._tracking
        tracking.tell(_away(tracking.at, self._sender.why, tracking.later()))

    def _say_back(self) -> None:
        self._tracking.tell(f"{self._tracking.at} is back, and has all records")


def is_sent(folder: Storage) -> bool:
    """Whether the tracker had all records when the search ended, or the search has no records."""
    return folder.exists(SENT) or not folder.exists(RECORDS)


def _try_runs(tracking: Tracking, records: Records) -> Runs | None:
    try:
        return tracking.open(records)
    except StorageError as error:
        tracking.tell(_away(tracking.at, reason(error), tracking.later()))
        return None


def _away(where: str, why: str, later: str) -> str:
    return (
        f"{where} takes no records ({why}); the search goes on, and sends "
        f"them when it is back, or later by: {later}"
    )
