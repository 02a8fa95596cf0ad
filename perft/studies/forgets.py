"""Studies of forgetting: what methods lose on other text, each where it is tuned for its task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perft.selection.confirm import Confirmed, gain
from perft.studies.answers import Answers, Cell
from perft.studies.study import Finding, Plot, Study, TextTable, factor, tuned_cells, worded
from perft.tasks.other_text import FORGOT


@dataclass(frozen=True, kw_only=True)
class Forgets(Study):
    """A study of what methods forget of `other_texts`.

    Attributes:
        methods: names of the design's adapters, by method, the smallest first.
        reference: the method that the others are compared with.
    """

    methods: Mapping[str, tuple[str, ...]]
    reference: str

    @property
    def kinds(self) -> Mapping[str, tuple[str, ...]]:
        """The methods."""
        return self.methods

    def findings(self, answers: Answers) -> list[Finding]:
        """For each text: which methods forget, more than the reference, with size, and by rate."""
        return [
            finding
            for text in _texts(answers)
            for finding in (
                *self._forgetting(text, answers),
                *self._against(text, answers),
                *self._by_size(text, answers),
                *self._by_rate(text, answers),
            )
        ]

    def tables(self, answers: Answers) -> list[TextTable]:
        """The methods with their score and what they forget, and all cells."""
        texts = _texts(answers)
        return [self._methods_table(texts, answers), self._cells_table(texts, answers)]

    def plot(self, answers: Answers) -> Plot:
        """What each method's adapters forget of the first text, over activated parameters."""
        texts = _texts(answers)
        lines = {
            method: {
                float(answers.sizes[each].activated): found
                for each in adapters
                if texts and (found := answers.measured([each], FORGOT + texts[0])) is not None
            }
            for method, adapters in self.methods.items()
        }
        label = f"forgotten of {texts[0]} (nats per token)" if texts else "forgotten"
        return Plot("activated PEFT parameters per token", lines, y_label=label)

    def _tuned(self, text: str, answers: Answers) -> dict[str, Confirmed]:
        """What each method forgets of a text, where it is tuned; the most forgetful first."""
        found = {
            method: known
            for method, adapters in self.methods.items()
            if (known := answers.measured(adapters, FORGOT + text)) is not None
        }
        return dict(sorted(found.items(), key=lambda item: -item[1].mean))

    def _forgetting(self, text: str, answers: Answers) -> Iterator[Finding]:
        for method, found in self._tuned(text, answers).items():
            low, high = found.interval or (-1.0, 1.0)
            what = (
                f"forgets of {text}: its loss there is higher than the base's"
                if low > 0
                else f"is better on {text} than the base alone"
                if high < 0
                else f"is not shown to forget of {text}"
            )
            yield Finding(f"**{method}** {what}, by {_told(found)}.", low > 0 or high < 0)

    def _against(self, text: str, answers: Answers) -> Iterator[Finding]:
        tuned = self._tuned(text, answers)
        reference = tuned.pop(self.reference, None)
        for method, found in tuned.items():
            says, is_shown = worded(
                None if reference is None else gain(found, reference),
                f"forgets more of {text} than {self.reference}",
                f"forgets less of {text} than {self.reference}",
                f"is not shown to differ from {self.reference} in what it forgets of {text}",
            )
            yield Finding(f"**{method}** {says}, both tuned.", is_shown)

    def _by_size(self, text: str, answers: Answers) -> Iterator[Finding]:
        for method, adapters in self.methods.items():
            ends = [answers.measured([each], FORGOT + text) for each in (adapters[0], adapters[-1])]
            if len(adapters) > 1 and ends[0] is not None and ends[1] is not None:
                yield self._compared(
                    method, text, (adapters[-1], ends[1]), (adapters[0], ends[0]), "each tuned"
                )

    def _by_rate(self, text: str, answers: Answers) -> Iterator[Finding]:
        low, high = min(answers.rates), max(answers.rates)
        for method, adapters in self.methods.items() if low < high else ():
            largest = adapters[-1]
            ends = [answers.measured_at(Cell(largest, rate), FORGOT + text) for rate in (low, high)]
            if ends[0] is not None and ends[1] is not None:
                first, second = (f"{largest} at {factor(rate)}" for rate in (high, low))
                yield self._compared(method, text, (first, ends[1]), (second, ends[0]), "")

    def _compared(
        self,
        method: str,
        text: str,
        first: tuple[str, Confirmed],
        second: tuple[str, Confirmed],
        how: str,
    ) -> Finding:
        what, is_shown = worded(
            gain(first[1], second[1]),
            "forgets more",
            "forgets less",
            "is not shown to forget more or less",
        )
        numbers = f"{_number(first[1])} and {_number(second[1])}{f', {how}' if how else ''}"
        return Finding(
            f"**{method}** {what} of {text} as {first[0]} than as {second[0]} ({numbers}).",
            is_shown,
        )

    def _methods_table(self, texts: list[str], answers: Answers) -> TextTable:
        heading = ("method", "tuned", "95% interval", "rate", *texts)
        tuned = answers.tuned_each(self.methods)
        rows = [
            (method, *tuned_cells(tuned[method]), *_cells(
                answers.measured(adapters, FORGOT + text) for text in texts
            ))
            for method, adapters in self.methods.items()
            if method in tuned
        ]  # fmt: skip
        return TextTable("Each method, tuned, and what it forgets", heading, rows)

    def _cells_table(self, texts: list[str], answers: Answers) -> TextTable:
        names = [each for adapters in self.methods.values() for each in adapters]
        rows = [
            (name, factor(rate), *_cells(
                answers.measured_at(Cell(name, rate), FORGOT + text) for text in texts
            ))
            for name in names
            for rate in answers.rates
        ]  # fmt: skip
        return TextTable("Each adapter at every rate", ("adapter", "rate", *texts), rows)


def _texts(answers: Answers) -> list[str]:
    """The texts that were measured."""
    names = {
        name
        for by_seed in answers.measures.values()
        for measures in by_seed.values()
        for name in measures
        if name.startswith(FORGOT)
    }
    return [name.removeprefix(FORGOT) for name in sorted(names, reverse=True)]


def _cells(found: Iterator[Confirmed | None]) -> Iterator[str]:
    return ("" if each is None else _number(each) for each in found)


def _number(found: Confirmed) -> str:
    spread = "" if found.spread is None else f" ± {found.spread:.3f}"
    return f"{found.mean:+.3f}{spread}"


def _told(found: Confirmed) -> str:
    ends = f" ({found.interval[0]:+.3f} to {found.interval[1]:+.3f})" if found.interval else ""
    return f"{found.mean:+.3f} nats per token{ends}"
