"""The pruners that a search can have: what stops a trial at a rung. One table names them all.

To add one, write a class with the method `stops` in a file of its own, and its line in `PRUNERS`.
`perft.search.rung_scheduler` puts it into Ray Tune; it need know neither Tune nor Ray.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from perft.errors import ConfigError, unknown
from perft.trial import AdapterSize, Report, TrialConfig


@dataclass(frozen=True, kw_only=True)
class RungReport:
    """A trial that has reached a rung before its full length.

    Attributes:
        number: the trial's.
        config: what it trains.
        size: parameters of its adapter.
        report: what it measured; `report.step` is the rung.
    """

    number: int
    config: TrialConfig
    size: AdapterSize
    report: Report


class Pruner(Protocol):
    """Decides at every rung before the last which trials go on. A search makes one of its rungs.

    What it answers follows from its rungs and from the reports that it was given so far, in their
    order, and from nothing else: it asks no clock, and draws nothing that is not seeded. A search
    that goes on makes it anew and gives it all reports again; only so does a search that was
    interrupted end as one that was not.
    """

    def stops(self, at: RungReport) -> bool:
        """Whether the trial is stopped here: it is then pruned, and another is proposed.

        Called once for every report, in the order in which the search acts on them, which does not
        depend on timing (docs/faults.md). A trial's own reports ascend; it is not heard of again
        when it was stopped, has failed, or is at its full length. The validation loss is finite.
        """


class NoPruner:
    """Stops no trial: all run to their full length."""

    def stops(self, at: RungReport) -> bool:
        """False."""
        return False


def _asha(rungs: tuple[int, ...]) -> Pruner:
    from perft.search.asha import Asha  # noqa: PLC0415 - who only reads the names needs no Ray

    return Asha(rungs)


DEFAULT_PRUNER = "asha"
PRUNERS: Mapping[str, Callable[[tuple[int, ...]], Pruner]] = {
    DEFAULT_PRUNER: _asha,
    "none": lambda _rungs: NoPruner(),
}
"""What makes each pruner, of the steps of the rungs, ascending; the last is the full length."""


def require_pruner(name: str) -> None:
    """Checks that there is such a pruner.

    Raises:
        ConfigError: if there is none; says which there are.
    """
    if name not in PRUNERS:
        raise ConfigError(unknown("pruner", name, PRUNERS))
