"""Callbacks of a program, called while its search runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from perft.errors import CallbackError, first_line
from perft.files import Json
from perft.searching.ledger import Entry
from perft.trial import Report, TrialConfig, TrialResult

if TYPE_CHECKING:
    from perft.api.results import Results


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ReportedTrial:
    """A trial of a running search that has just reported.

    Attributes:
        number: the trial's number in the search, from 0.
        config: its configuration.
        params: the parameters that it was drawn with, by Optuna's names.
        reports: all of its reports so far, by step; at least one.
    """

    number: int
    config: TrialConfig
    params: Mapping[str, Json]
    reports: tuple[Report, ...]

    @property
    def report(self) -> Report:
        """The new report."""
        return self.reports[-1]


class SearchCallback:
    """Hears of a search while it runs; override what you need.

    The methods are called in the thread that called `perft.search`, one after the other, and the
    search waits for them. What one raises stops the search as Ctrl-C does, with all that was
    trained kept, and `perft.search` raises it with a note that says how to resume. A resumed search
    tells its callbacks of its earlier trials again.
    """

    def on_report(self, trial: ReportedTrial) -> None:
        """A trial has reported: at a rung, or at its full length."""

    def on_trial_end(self, result: TrialResult) -> None:
        """A trial has ended: complete, pruned or failed."""

    def on_search_end(self, results: "Results") -> None:
        """The search has run to its end."""


class Relay:
    """Tells callbacks of each report and each end once, also where Ray has died meanwhile.

    Args:
        callbacks: in the order in which they are called.
    """

    def __init__(self, callbacks: Sequence[SearchCallback]) -> None:
        self._callbacks = callbacks
        self._told: set[tuple[int, int | None]] = set()

    def reported(self, entry: Entry) -> None:
        """Calls `on_report`."""
        if self._is_new(entry.number, entry.reports[-1].step):
            trial = ReportedTrial(
                number=entry.number,
                config=entry.config,
                params=entry.params,
                reports=tuple(entry.reports),
            )
            for callback in self._callbacks:
                _call(callback.on_report, trial)

    def ended(self, entry: Entry) -> None:
        """Calls `on_trial_end`."""
        if self._is_new(entry.number, None):
            result = entry.result()
            for callback in self._callbacks:
                _call(callback.on_trial_end, result)

    def finished(self, results: "Results") -> None:
        """Calls `on_search_end`."""
        for callback in self._callbacks:
            callback.on_search_end(results)

    def _is_new(self, number: int, step: int | None) -> bool:
        is_new = (number, step) not in self._told
        self._told.add((number, step))
        return is_new


def _call(method: Callable[[T], None], about: T) -> None:
    try:
        method(about)
    except Exception as error:
        raise CallbackError(
            f"{getattr(method, '__qualname__', method)} raised {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
