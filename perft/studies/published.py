"""Studies of published scores: the same adapters, by the same recipe, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perft.selection.confirm import Confirmed, format_interval, format_mean, gain
from perft.selection.interval import CONFIDENCE
from perft.studies.answers import Answers, Cell
from perft.studies.study import Finding, Plot, Study, TextTable, told


@dataclass(frozen=True)
class Row:
    """A published score.

    Attributes:
        group: the kind of adapter.
        cell: of the design, the same adapter at its published rate.
        score: in percent.
    """

    group: str
    cell: Cell
    score: float


@dataclass(frozen=True, kw_only=True)
class Published(Study):
    """A study of whether published scores come out again.

    Attributes:
        rows: the scores.
        claims: pairs of names of adapters of which the first was published as the better one.
        source: where they were published, in a sentence.
    """

    rows: Sequence[Row]
    claims: Sequence[tuple[str, str]]
    source: str

    def findings(self, answers: Answers) -> list[Finding]:
        """For each claim whether it holds, and whether the whole ranking does."""
        known = {row.cell.adapter: (row, found) for row, found in self._known(answers)}
        claims = [
            self._claim(known[first], known[second])
            for first, second in self.claims
            if first in known and second in known
        ]
        return [*claims, *self._ranking(list(known.values()))]

    def tables(self, answers: Answers) -> list[TextTable]:
        """A row for each published score."""
        rows = [
            (
                row.cell.adapter,
                f"{answers.sizes[row.cell.adapter].activated:,}",
                f"{row.score:.1f}%",
                format_mean(found),
                format_interval(found),
            )
            for row, found in self._known(answers)
        ]
        heading = ("adapter", "activated", "published", "here", "95% interval")
        return [TextTable(f"Side by side. {self.source}", heading, rows)]

    def plot(self, answers: Answers) -> Plot:
        """Scores here over those that were published."""
        lines: dict[str, dict[float, Confirmed]] = {}
        for row, found in sorted(self._known(answers), key=lambda pair: pair[0].score):
            lines.setdefault(row.group, {})[row.score] = found
        return Plot("published score (%)", lines, is_log=False)

    def _known(self, answers: Answers) -> Iterator[tuple[Row, Confirmed]]:
        for row in self.rows:
            if (found := answers.at(row.cell)) is not None:
                yield row, found

    def _claim(self, first: tuple[Row, Confirmed], second: tuple[Row, Confirmed]) -> Finding:
        over = gain(first[1], second[1])
        verdict = "noise" if over is None else over.verdict
        what = _VERDICTS[verdict]
        published = first[0].score - second[0].score
        return Finding(
            f"**{first[0].cell.adapter} over {second[0].cell.adapter}**, by {published:.1f} points "
            f"as published, {what} here{told(over, first[1])}.",
            verdict != "noise",
        )

    def _ranking(self, known: Sequence[tuple[Row, Confirmed]]) -> list[Finding]:
        from scipy.stats import kendalltau  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

        if len(known) < 3:
            return []
        found = kendalltau([row.score for row, _ in known], [here.mean for _, here in known])
        agrees = found.pvalue < 1 - CONFIDENCE
        what = ("agrees with" if found.statistic > 0 else "contradicts") if agrees else (
            "is not shown to agree with"
        )  # fmt: skip
        return [
            Finding(
                f"**The ranking** of {len(known)} adapters {what} the published one "
                f"(Kendall's tau {found.statistic:+.2f}, p {found.pvalue:.1g}).",
                bool(agrees),
            )
        ]


_VERDICTS: Mapping[str, str] = {
    "better": "holds",
    "worse": "is turned round",
    "noise": "is neither shown nor refuted",
}
