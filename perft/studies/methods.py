"""Studies of methods: which is best once each is tuned, and whether tuning changes the ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perft.selection.confirm import format_mean, gain
from perft.studies.answers import Answers, Cell, Tuned
from perft.studies.study import (
    Finding,
    Plot,
    Study,
    TextTable,
    adapter_heading,
    adapter_row,
    against,
    is_better,
    rates_not_tried,
    told,
    tuned_cells,
)


@dataclass(frozen=True, kw_only=True)
class Methods(Study):
    """A study of methods, each tuned over its own adapters and rates.

    Attributes:
        methods: names of the design's adapters, by method, the smallest first.
        reference: the method that the others are compared with.
        fixed: the cell of each method that everybody would try first, without tuning.
    """

    methods: Mapping[str, tuple[str, ...]]
    reference: str
    fixed: Mapping[str, Cell]

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """The methods."""
        return self.methods

    def findings(self, answers: Answers) -> list[Finding]:
        """Each method against the reference, the two best, and both rankings."""
        tuned = self._ranked(answers)
        if self.reference not in tuned:
            return []
        reference = tuned[self.reference].found
        found = [
            against(name, each.found, self.reference, reference)
            for name, each in tuned.items()
            if name != self.reference
        ]
        return [
            *found,
            *self._best_two(tuned),
            *self._rankings(tuned, answers),
            *self._at_ends(tuned, answers),
        ]

    def tables(self, answers: Answers) -> list[TextTable]:
        """The methods, best first, and all their adapters."""
        heading = ("method", "chosen adapter", "activated", "tuned", "95% interval", "rate")
        rows = [
            (
                name,
                each.chosen.adapter,
                f"{answers.sizes[each.chosen.adapter].activated:,}",
                *tuned_cells(each),
            )
            for name, each in self._ranked(answers).items()
        ]
        return [TextTable("Each method, tuned", heading, rows), self._adapters(answers)]

    def plot(self, answers: Answers) -> Plot:
        """Each method's adapters at their tuned rates, over activated parameters."""
        lines = {}
        for name, adapters in self.methods.items():
            tuned = answers.tuned_each({each: [each] for each in adapters})
            values = {
                float(answers.sizes[each].activated): found.found for each, found in tuned.items()
            }
            lines[name] = dict(sorted(values.items()))
        return Plot("activated PEFT parameters per token", lines)

    def _ranked(self, answers: Answers) -> dict[str, Tuned]:
        """The methods, tuned, best first."""
        tuned = answers.tuned_each(self.methods)
        return dict(sorted(tuned.items(), key=lambda item: -item[1].found.mean))

    def _best_two(self, tuned: Mapping[str, Tuned]) -> list[Finding]:
        if len(tuned) < 2:
            return []
        first, second = list(tuned)[:2]
        over = gain(tuned[first].found, tuned[second].found)
        what = "is better than" if is_better(over) else "leads, but not shown to be better than"
        return [
            Finding(
                f"**{first}**, the best, {what} the next, {second}"
                f"{told(over, tuned[first].found)}.",
                is_better(over),
            )
        ]

    def _rankings(self, tuned: Mapping[str, Tuned], answers: Answers) -> list[Finding]:
        """Whether some method beats another untuned, and is beaten by it tuned."""
        fixed = {name: answers.at(cell) for name, cell in self.fixed.items()}
        known = {name: found for name, found in fixed.items() if found is not None}
        order = sorted(known, key=lambda name: -known[name].mean)
        turned = [
            f"{first} over {second}"
            for place, first in enumerate(order)
            for second in order[place + 1 :]
            if {first, second} <= tuned.keys()
            and is_better(gain(known[first], known[second]))
            and is_better(gain(tuned[second].found, tuned[first].found))
        ]
        untuned = ", ".join(f"{name} {format_mean(known[name])}" for name in order)
        says = (
            f"turns round what is shown without it: {'; '.join(turned)}"
            if turned
            else "turns round no order of two methods that is shown without it"
        )
        return [Finding(f"**Tuning** {says}. Without tuning: {untuned}.", bool(turned))]

    def _at_ends(self, tuned: Mapping[str, Tuned], answers: Answers) -> list[Finding]:
        """The methods whose best adapter or rate is the last one that was tried."""
        largest = [
            name
            for name, each in tuned.items()
            if len(self.methods[name]) > 1 and each.chosen.adapter == self.methods[name][-1]
        ]
        found = [f"more than its largest adapter: {', '.join(largest)}"] if largest else []
        found += [f"{what}: {names}" for what, names in rates_not_tried(tuned, answers)]
        if not found or len(answers.rates) == 1:
            return []
        return [Finding(f"**Not tried**, and perhaps better: {'; '.join(found)}.", False)]

    def _adapters(self, answers: Answers) -> TextTable:
        names = [each for adapters in self.methods.values() for each in adapters]
        rows = [adapter_row(each, each, answers) for each in names if each in answers.sizes]
        return TextTable("Each adapter at every rate", adapter_heading("adapter", answers), rows)
