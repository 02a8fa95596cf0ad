"""What all studies have: a question, a design, and a page of findings."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perft.selection.confirm import (
    Confirmed,
    Gain,
    format_gain,
    format_interval,
    format_mean,
    gain,
)
from perft.studies.answers import Answers, Cell, Tuned
from perft.studies.design import Design


@dataclass(frozen=True)
class Finding:
    """A sentence of a page.

    Attributes:
        text: the sentence.
        is_shown: whether the trainings show it, at 95% confidence; else they leave it open.
    """

    text: str
    is_shown: bool


@dataclass(frozen=True)
class TextTable:
    """A table of a page.

    Attributes:
        title: above it.
        heading: of each column.
        rows: its cells.
    """

    title: str
    heading: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Plot:
    """Curves of the picture.

    Attributes:
        x_label: of the horizontal axis.
        lines: by name, values by the number on that axis, ascending.
        is_log: whether that axis is logarithmic.
        y_label: what the values are, if not the score; 0 then is the value of `zero`.
        zero: what the line at 0, or at the score of the base, stands for.
    """

    x_label: str
    lines: Mapping[str, Mapping[float, Confirmed]]
    is_log: bool = True
    y_label: str = ""
    zero: str = "base alone"


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """A question and the design that answers it.

    Attributes:
        question: in a sentence, for the title of the page.
        design: what is trained.
        other_texts: texts of which it is measured what each trial forgets.
        router_measures: whether the trials' own routers are measured.
    """

    question: str
    design: Design
    other_texts: tuple[str, ...] = ()
    router_measures: bool = False

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """What several runs of it are compared by: names of adapters, tuned together."""
        return {name: (name,) for name in self.design.adapters}

    @abstractmethod
    def findings(self, answers: Answers) -> list[Finding]:
        """What follows from the answers, and what stays open."""

    @abstractmethod
    def tables(self, answers: Answers) -> list[TextTable]:
        """The numbers behind the findings."""

    @abstractmethod
    def plot(self, answers: Answers) -> Plot:
        """What the picture of the page shows."""


def said(findings: Sequence[Finding]) -> Iterator[str]:
    """The findings as lines of a terminal: those that are shown, then the open ones."""
    for title, shown in (("shown", True), ("open", False)):
        yield f"\n{title}:"
        yield from (
            f"- {each.text.replace('**', '')}" for each in findings if each.is_shown is shown
        )


def counted(findings: Sequence[Finding]) -> str:
    """How many findings there are: "1 of 4 findings shown, 3 open"."""
    known = sum(each.is_shown for each in findings)
    return f"{known} of {len(findings)} findings shown, {len(findings) - known} open"


def is_better(over: Gain | None) -> bool:
    """Whether the first of two is better by more than noise."""
    return over is not None and over.verdict == "better"


def worded(over: Gain | None, better: str, worse: str, noise: str) -> tuple[str, bool]:
    """The words for what a test of two says of the first, and whether that is shown."""
    verdict = "noise" if over is None else over.verdict
    return {"better": better, "worse": worse}.get(verdict, noise), verdict != "noise"


def told(over: Gain | None, found: Confirmed) -> str:
    """A difference in brackets: "(+2.1% p 0.03)"; empty if it cannot be said."""
    return "" if over is None else f" ({format_gain(over, scored=bool(found.scored))})"


def against(name: str, found: Confirmed, other: str, its: Confirmed) -> Finding:
    """Whether one is better than another, both tuned."""
    over = gain(found, its)
    what, is_shown = worded(over, "is better than", "is worse than", "is not shown to differ from")
    return Finding(f"**{name}** {what} {other}, both tuned{told(over, found)}.", is_shown)


def factor(rate: float) -> str:
    """A factor of the usual rate: "0.3x"."""
    return f"{rate:g}x"


def rates_not_tried(tuned: Mapping[str, Tuned], answers: Answers) -> Iterator[tuple[str, str]]:
    """Rates beyond the lowest or the highest, and the names of those that were best there."""
    if len(answers.rates) > 1:
        for at, rate in (("lower", min(answers.rates)), ("higher", max(answers.rates))):
            if names := [name for name, each in tuned.items() if each.chosen.rate == rate]:
                yield f"a {at} rate than {factor(rate)}", ", ".join(names)


def tuned_cells(tuned: Tuned | None) -> tuple[str, str, str]:
    """Mean and spread at the tuned rate, its 95% interval, and that rate; empty if unknown."""
    if tuned is None:
        return "", "", ""
    return format_mean(tuned.found), format_interval(tuned.found), factor(tuned.chosen.rate)


def adapter_heading(first: str, answers: Answers) -> tuple[str, ...]:
    """The heading of `adapter_row`."""
    rates = (f"at {factor(rate)}" for rate in answers.rates)
    return first, "activated", "tuned", "95% interval", "rate", *rates


def adapter_row(label: str, name: str, answers: Answers) -> tuple[str, ...]:
    """A row of a table: an adapter tuned, and at every rate."""
    cells: Sequence[Confirmed | None] = [answers.at(Cell(name, rate)) for rate in answers.rates]
    return (
        label,
        f"{answers.sizes[name].activated:,}",
        *tuned_cells(answers.tuned([name])),
        *("failed" if each is None else format_mean(each) for each in cells),
    )
