"""The pruners of a search, which stop trials at rungs, in one table.

To add one, write a class with the method `stops` in a file of its own, and its line in `PRUNERS`.
`perft.searching.tune.rung_scheduler` adapts it to Ray Tune; the class depends on neither Tune
nor Ray.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from perft.searching.objectives import ACCURACY, FRONT, LOSS
from perft.trial import AdapterSize, Report, TrialConfig


@dataclass(frozen=True, kw_only=True)
class RungReport:
    """A trial that has reached a rung before its full length.

    Attributes:
        number: the trial's.
        config: its configuration.
        size: parameters of its adapter.
        report: its losses and scores; `report.step` is the rung.
    """

    number: int
    config: TrialConfig
    size: AdapterSize
    report: Report


class Pruner(Protocol):
    """Decides at every rung before the last which trials continue. A search creates one.

    Its decisions depend only on its rungs and the reports so far, in their order: not on a clock,
    nor on unseeded randomness. A resumed search creates it again and repeats all reports; only then
    does an interrupted search end like an uninterrupted one.
    """

    def stops(self, at: RungReport) -> bool:
        """Whether to prune the trial here; another is then proposed.

        Called once for every report, in the order in which the search acts on them, which does not
        depend on timing (docs/faults.md). A trial's own reports ascend; none follow after it was
        stopped, has failed, or is at its full length. The validation loss is finite.
        """


class NoPruner:
    """Stops no trial: all run to their full length."""

    def stops(self, at: RungReport) -> bool:
        """False."""
        return False


def _asha(rungs: tuple[int, ...], objective: str) -> Pruner:
    from perft.searching.pruning.asha import Asha  # noqa: PLC0415 - the table is read without Ray

    return Asha(rungs, by_accuracy=objective == ACCURACY)


def _front(_rungs: tuple[int, ...], _objective: str) -> Pruner:
    from perft.searching.pruning.front_pruner import FrontPruner  # noqa: PLC0415 - it imports this module

    return FrontPruner()


PRUNERS: Mapping[str, Callable[[tuple[int, ...], str], Pruner]] = {
    "front": _front,
    "asha": _asha,
    "none": lambda _rungs, _objective: NoPruner(),
}
"""By name, makes a pruner from the steps of the rungs, ascending, the last being the full length;
and from what the search aims at, a name of `OBJECTIVES`."""

DEFAULT_PRUNERS: Mapping[str, str] = {FRONT: "front", ACCURACY: "asha", LOSS: "asha"}
"""By what the search aims at, the pruner if the user names none."""
