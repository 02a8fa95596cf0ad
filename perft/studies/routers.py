"""Studies of routers: whether a router of the adapter's own is meaningfully another one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perft.selection.confirm import Confirmed, gain
from perft.studies.answers import Answers, Cell
from perft.studies.study import (
    Finding,
    Plot,
    Study,
    TextTable,
    against,
    factor,
    is_better,
    tuned_cells,
    worded,
)

MEASURES: Mapping[str, str] = {
    "router_moved": "moved",
    "router_load": "busiest load",
    "router_entropy": "entropy",
    "router_cka": "CKA with the base",
    "start_cka": "at its start",
    "router_nmi": "NMI with the base",
    "start_nmi": "at its start",
    "swap_start": "loss with its start",
    "swap_base": "loss with the base's",
}
"""By metric (`perft.training.router_measures`), its heading."""


@dataclass(frozen=True, kw_only=True)
class Routers(Study):
    """A study of routers that adapters learn, against one that follows the base's.

    Attributes:
        learned: names of the design's adapters with a router of their own.
        frozen: the adapter that follows the base's router.
    """

    learned: tuple[str, ...]
    frozen: str

    def findings(self, answers: Answers) -> list[Finding]:
        """For each router: its score, what swapping it costs, and whether it is like the base's."""
        return [
            finding
            for name in self.learned
            for finding in (
                *self._against_frozen(name, answers),
                *self._swapped(name, answers),
                *self._agreeing(name, answers),
                *self._by_rate(name, answers),
            )
        ]

    def tables(self, answers: Answers) -> list[TextTable]:
        """Each adapter where it is tuned, and each router at every rate."""
        names = (*self.learned, self.frozen)
        heading = ("adapter", "tuned", "95% interval", "rate", *MEASURES.values())
        tuned = [
            (
                n,
                *tuned_cells(answers.tuned([n])),
                *(_number(answers.measured([n], m)) for m in MEASURES),
            )
            for n in names
        ]
        cells = [Cell(name, rate) for name in self.learned for rate in answers.rates]
        rows = [
            (c.adapter, factor(c.rate), *(_number(answers.measured_at(c, m)) for m in MEASURES))
            for c in cells
        ]
        return [
            TextTable("Each adapter, tuned, and its router", heading, tuned),
            TextTable("Each router at every rate", ("adapter", "rate", *MEASURES.values()), rows),
        ]

    def plot(self, answers: Answers) -> Plot:
        """How much the loss rises with the router's start in its place, over the rate."""
        lines = {
            name: {
                lr: found
                for rate, lr in answers.rates.items()
                if (found := answers.measured_at(Cell(name, rate), "swap_start")) is not None
            }
            for name in self.learned
        }
        label = "loss added by the router's start (nats per token)"
        return Plot("learning rate", lines, y_label=label, zero="learned router")

    def _against_frozen(self, name: str, answers: Answers) -> Iterator[Finding]:
        mine, other = answers.tuned([name]), answers.tuned([self.frozen])
        if mine is not None and other is not None:
            yield against(name, mine.found, self.frozen, other.found)

    def _swapped(self, name: str, answers: Answers) -> Iterator[Finding]:
        for measure, whose in (("swap_start", "it started with"), ("swap_base", "of the base")):
            found = answers.measured([name], measure)
            if found is not None and found.interval is not None:
                low, high = found.interval
                what = (
                    "is higher" if low > 0 else "is lower" if high < 0 else "is not shown to change"
                )
                yield Finding(
                    f"**{name}**: with the router {whose} in place of the learned one the loss "
                    f"{what}, by {found.mean:+.3f} ({low:+.3f} to {high:+.3f}).",
                    low > 0 or high < 0,
                )

    def _agreeing(self, name: str, answers: Answers) -> Iterator[Finding]:
        for measure, called in (("cka", "CKA of the probabilities"), ("nmi", "NMI of the choices")):
            now = answers.measured([name], f"router_{measure}")
            before = answers.measured([name], f"start_{measure}")
            if now is None or before is None:
                continue
            what, is_shown = worded(
                gain(now, before),
                "is more like the base's",
                "is less like the base's",
                "is not shown to be more or less like the base's",
            )
            yield Finding(
                f"**{name}**: its learned router {what} than the router it started with "
                f"({called} {now.mean:.2f} and {before.mean:.2f}).",
                is_shown,
            )

    def _by_rate(self, name: str, answers: Answers) -> Iterator[Finding]:
        low, high = min(answers.rates), max(answers.rates)
        least, most = (answers.measured_at(Cell(name, r), "router_moved") for r in (low, high))
        if low < high and least is not None and most is not None:
            shown = is_better(gain(most, least))
            what = "goes farther" if shown else "is not shown to go farther"
            yield Finding(
                f"**{name}**: its router {what} at {factor(high)} than at {factor(low)} "
                f"({most.mean:.2f} and {least.mean:.2f} of the norm it started with).",
                shown,
            )


def _number(found: Confirmed | None) -> str:
    if found is None:
        return ""
    spread = "" if found.spread is None else f" ± {found.spread:.3f}"
    return f"{found.mean:.3f}{spread}"
