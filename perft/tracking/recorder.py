"""Records a search while it runs: in its folder, and from there in a tracker.

Every call may be repeated, also by another process after a resume: what is recorded is not recorded
again. One process at a time records a search.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from perft.errors import StorageError
from perft.masking import masked
from perft.search_folder import RECORDS, SENT
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord, Status, TrialRecord, now
from perft.tracking.sender import PATIENCE_SECONDS, Sender, reason
from perft.tracking.tracker import Runs, Tracker
from perft.trial import AdapterSize, Report, SplitScores, TrialConfig, TrialResult

_UNSAID_SECONDS = 1.0  # a wait that nobody needs to hear of


class Recorder:
    """The record of one search. No call but `wait` and `close` waits for the tracker.

    Args:
        tracker: shows it.
        place: where, as the tracker has it.
        records: of the search.
        runs: its runs; None where they could not be opened, of which the user knows.
        tell: shows the user a line.
        later: as `start` takes it.

    Raises:
        StorageError: from every method, when the search's folder cannot be written.
    """

    def __init__(
        self,
        tracker: Tracker,
        place: str,
        records: Records,
        runs: Runs | None,
        *,
        tell: Callable[[str], None],
        later: Callable[[], str],
    ) -> None:
        self._tracker = tracker
        self._place = place
        self._records = records
        self._tell = tell
        self._later = later
        self._sender = Sender(
            lambda: tracker.open(place, records), runs, self._say_away, self._say_back
        )

    @classmethod
    def start(
        cls,
        tracker: Tracker,
        place: str,
        folder: Storage,
        name: str,
        params: Mapping[str, object],
        *,
        tell: Callable[[str], None],
        later: Callable[[], str],
    ) -> "Recorder":
        """Begins the record of a new search.

        Args:
            tracker: shows it.
            place: where, as `tracker.new_place` gave it.
            folder: the search's folder.
            name: the search's name.
            params: what it was asked to do.
            tell: shows the user a line.
            later: gives the command that completes the runs when the search has ended.

        Raises:
            StorageError: when the tracker, or the folder, cannot be written.
        """
        records = Records(folder, _fresh(folder, name, params))
        records.keep_search(records.search)
        return cls(tracker, place, records, tracker.open(place, records), tell=tell, later=later)

    @classmethod
    def resume(
        cls,
        tracker: Tracker,
        place: str,
        folder: Storage,
        name: str,
        params: Mapping[str, object],
        *,
        tell: Callable[[str], None],
        later: Callable[[], str],
    ) -> "Recorder":
        """Goes on with the record of a search; takes the arguments of `start`.

        All that its folder knows is sent once more. A tracker that cannot be written now is told
        of, and tried again.

        Raises:
            StorageError: when the folder cannot be read or written.
        """
        records = Records.read(folder, _fresh(folder, name, params))
        folder.delete(SENT)
        records.keep_search(replace(records.search, status="RUNNING", ended=None))
        runs = _try_runs(tracker, place, records, tell, later)
        recorder = cls(tracker, place, records, runs, tell=tell, later=later)
        recorder._send_all()
        return recorder

    @classmethod
    def catch_up(
        cls,
        tracker: Tracker,
        place: str,
        folder: Storage,
        name: str,
        params: Mapping[str, object],
        *,
        tell: Callable[[str], None],
        later: Callable[[], str],
    ) -> "Recorder":
        """Sends what the folder of a search that nobody runs knows; takes the arguments of `start`.

        The runs of one that did not end are KILLED, when the last was heard of it.

        Raises:
            StorageError: when the tracker cannot be written, or the folder cannot be read or
                written.
        """
        records = Records.read(folder, _fresh(folder, name, params))
        if records.search.status == "RUNNING":
            ended = replace(records.search, status="KILLED", ended=records.latest)
            records.keep_search(ended)
        recorder = cls(
            tracker, place, records, tracker.open(place, records), tell=tell, later=later
        )
        recorder._send_all()
        return recorder

    def run_id(self, number: int) -> str:
        """What the tracker calls the trial's run; empty where it calls it nothing, or not yet."""
        return self._sender.run_ids.get(number, "")

    def log_params(self, params: Mapping[str, object]) -> None:
        """Records what the search was asked to do, once all of it is known."""
        self._records.keep_search(replace(self._records.search, params=params))
        self._send_search()

    def start_trial(self, number: int, config: TrialConfig) -> None:
        """A trial has begun."""
        if number not in self._records.trials:
            self._keep(TrialRecord(number=number, config=config, started=now()))

    def report(self, number: int, size: AdapterSize, report: Report) -> None:
        """A trial has reached a rung; the first report of a step counts."""
        trial = self._records.trials[number]
        if all(known.step != report.step for _, known in trial.reports):
            self._keep(replace(trial, size=size, reports=(*trial.reports, (now(), report))))

    def end_trial(self, result: TrialResult, adapter: str = "") -> None:
        """A trial has ended.

        Args:
            result: how.
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

    def finish(
        self,
        status: Status,
        *,
        front: Collection[int] | None = None,
        files: Collection[str] = (),
        scores: Mapping[int, SplitScores] | None = None,
        predictions: Mapping[int, str] | None = None,
    ) -> None:
        """The search has ended, and with it every trial that has not.

        Args:
            status: how.
            front: numbers of the trials on the Pareto front; every trial is tagged with whether
                it is one of them; None to leave that as it is.
            files: names of those in the search's folder that are uploaded to its run.
            scores: correct and scored examples by trial and test split.
            predictions: folders of what they were counted from, by trial.
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
            )
        )
        self._send_all()

    def wait(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Whether the tracker has all records: as `close`, but at once where it is away."""
        return not self._sender.is_away and self._sender.wait(patience)

    def close(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Waits for the tracker to take what is recorded, but not for one that takes nothing.

        Args:
            patience: seconds in which nothing could be sent, after which it gives up and says so.

        Returns:
            Whether the tracker has all.
        """
        if not self._sender.wait(min(patience, _UNSAID_SECONDS)):
            title = self._tracker.title
            self._tell(f"sending {title} the last records; it has {patience:.0f} s for each")
        is_sent = self._sender.wait(patience)
        self._sender.close()
        if is_sent:
            if self._records.search.status != "RUNNING":
                self._records.folder.write(SENT, b"")
        else:
            place = f"{self._records.folder.shown}/{RECORDS}"
            self._tell(
                f"{self._tracker.at(self._place)} has not all records ({self._sender.why}); they "
                f"are kept in {place}; send them when it answers, by: {self._later()}"
            )
        return is_sent

    def send_files(self) -> None:
        """Has the files of the search's run uploaded once more, as they have changed."""
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
        search, trials = self._records.search, set(self._records.trials)
        self._sender.put(None, lambda runs: runs.send_search(search, trials))

    def _say_away(self) -> None:
        where = self._tracker.at(self._place)
        self._tell(_away(where, self._sender.why, self._later()))

    def _say_back(self) -> None:
        self._tell(f"{self._tracker.at(self._place)} is back, and has all records")


def is_sent(folder: Storage) -> bool:
    """Whether the tracker had all of a search when it ended, or was never to have it."""
    return folder.exists(SENT) or not folder.exists(RECORDS)


def _fresh(folder: Storage, name: str, params: Mapping[str, object]) -> SearchRecord:
    return SearchRecord(name=name, place=masked(folder.uri), params=params)


def _try_runs(
    tracker: Tracker,
    place: str,
    records: Records,
    tell: Callable[[str], None],
    later: Callable[[], str],
) -> Runs | None:
    try:
        return tracker.open(place, records)
    except StorageError as error:
        tell(_away(tracker.at(place), reason(error), later()))
        return None


def _away(where: str, why: str, later: str) -> str:
    return (
        f"{where} takes no records ({why}); the search goes on, and sends "
        f"them when it is back, or later by: {later}"
    )
