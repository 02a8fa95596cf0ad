"""Studies of a number: how the score follows it, where it is best, and whether more does harm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perft.selection.confirm import Confirmed, gain
from perft.studies.answers import Answers, Cell, Tuned
from perft.studies.study import (
    Finding,
    Plot,
    Study,
    TextTable,
    adapter_heading,
    adapter_row,
    factor,
    is_better,
    rates_not_tried,
    told,
)


@dataclass(frozen=True, kw_only=True)
class Series:
    """A curve: the same kind of adapter at several values of the number.

    Attributes:
        name: of the curve.
        adapters: names of the design's adapters, by the number, ascending.
    """

    name: str
    adapters: Mapping[float, str]


@dataclass(frozen=True, kw_only=True)
class Curves(Study):
    """A study of how the score follows a number.

    Attributes:
        number: what the number is, such as "bottleneck".
        series: the curves.
    """

    number: str
    series: Sequence[Series]

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """The curves, each at the number that suits it."""
        return {each.name: tuple(each.adapters.values()) for each in self.series}

    def findings(self, answers: Answers) -> list[Finding]:
        """For each curve: whether it rises, whether it falls again, whether the rate moves that."""
        found = []
        for each in self.series:
            curve = self._tuned(each, answers)
            peak = answers.tuned(list(each.adapters.values()))
            if peak is not None and len(curve) > 1:
                found += [
                    self._at_the_low_end(each, curve, peak),
                    *self._at_the_high_end(each, curve, peak),
                    self._by_rate(each, answers),
                    *self._at_ends(each, curve, answers),
                ]
        return found

    def tables(self, answers: Answers) -> list[TextTable]:
        """One table for each curve: a row for each number, the tuned rate first."""
        heading = adapter_heading(self.number, answers)
        return [
            TextTable(each.name, heading, [adapter_row(f"{x:g}", n, answers) for x, n in known])
            for each in self.series
            if (known := [(x, n) for x, n in each.adapters.items() if n in answers.sizes])
        ]

    def plot(self, answers: Answers) -> Plot:
        """Each curve at its tuned rates, over the number."""
        curves = {each.name: self._tuned(each, answers) for each in self.series}
        return Plot(
            self.number,
            {
                name: {x: tuned.found for x, tuned in curve.items()}
                for name, curve in curves.items()
            },
        )

    def _tuned(self, series: Series, answers: Answers) -> dict[float, Tuned]:
        """Each number at the rate that suits it."""
        return answers.tuned_each({x: [name] for x, name in series.adapters.items()})

    def _number_of(self, series: Series, cell: Cell) -> float:
        return next(x for x, name in series.adapters.items() if name == cell.adapter)

    def _at_the_low_end(self, series: Series, curve: Mapping[float, Tuned], peak: Tuned) -> Finding:
        least, best = min(curve), self._number_of(series, peak.chosen)
        over = gain(peak.found, curve[least].found)
        shown = is_better(over) and best != least
        what = f"is better at {best:g} than at" if shown else "is not shown to need more than"
        return Finding(
            f"**{series.name}** {what} {self.number} {least:g}{told(over, peak.found)}.", shown
        )

    def _at_the_high_end(
        self, series: Series, curve: Mapping[float, Tuned], peak: Tuned
    ) -> list[Finding]:
        most, best = max(curve), self._number_of(series, peak.chosen)
        if best == most:
            return [Finding(f"**{series.name}** is best at the largest {self.number} that was "
                            f"tried, {most:g}: where it turns is not known.", False)]  # fmt: skip
        over = gain(peak.found, curve[most].found)
        what = "falls" if is_better(over) else "is not shown to fall"
        return [
            Finding(
                f"**{series.name}** {what} beyond {best:g}, up to {most:g}, where each has the "
                f"rate that suits it{told(over, peak.found)}.",
                is_better(over),
            )
        ]

    def _by_rate(self, series: Series, answers: Answers) -> Finding:
        """Where the curve is best at each fixed rate, and how much it loses at its end."""
        parts, falls = [], []
        for rate in answers.rates:
            curve = self._at(series, answers, rate)
            if len(curve) > 1:
                best, most = max(curve, key=lambda x: curve[x].mean), max(curve)
                over = gain(curve[best], curve[most]) if best != most else None
                falls.append(is_better(over))
                parts.append(f"{best:g} at {factor(rate)}{told(over, curve[best])}")
        moves = any(falls) and not all(falls)
        says = (
            "falls towards the largest at some rates and not at others, so the turn is the rate's"
            if moves
            else "has its best at"
        )
        return Finding(
            f"**{series.name}** at one fixed rate {says}: {', '.join(parts)}; in brackets, the "
            "best over the largest.",
            moves,
        )

    def _at_ends(
        self, series: Series, curve: Mapping[float, Tuned], answers: Answers
    ) -> list[Finding]:
        """The numbers whose best rate is the lowest or the highest that was tried."""
        numbers = {f"{x:g}": each for x, each in curve.items()}
        found = [f"{what} at {at}" for what, at in rates_not_tried(numbers, answers)]
        if not found:
            return []
        text = f"**{series.name}**: not tried, and perhaps better, is {'; '.join(found)}."
        return [Finding(text, False)]

    def _at(self, series: Series, answers: Answers, rate: float) -> dict[float, Confirmed]:
        found = {x: answers.at(Cell(name, rate)) for x, name in series.adapters.items()}
        return {x: each for x, each in found.items() if each is not None}
