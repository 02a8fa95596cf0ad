"""What several runs of one study say together: on several bases, or by other seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from perft.selection.confirm import format_mean, gain
from perft.selection.paired import Verdict
from perft.studies.answers import Answers, Tuned
from perft.studies.study import Finding, Study, TextTable


@dataclass(frozen=True)
class Order:
    """Two kinds of adapters, each tuned in every run.

    Attributes:
        first: the kind with the better mean rank.
        second: the other one.
        verdicts: by run, whether the first is better there, or worse, or whether that is noise.
    """

    first: str
    second: str
    verdicts: Mapping[str, Verdict]

    def runs(self, verdict: Verdict) -> list[str]:
        """The runs with this verdict."""
        return [run for run, each in self.verdicts.items() if each == verdict]

    @property
    def turns(self) -> bool:
        """Whether one run shows the first to be better, and another one shows the opposite."""
        return bool(self.runs("better") and self.runs("worse"))


@dataclass(frozen=True)
class Comparison:
    """Several runs of a study.

    Attributes:
        tuned: by kind, its tuned values by run; the best mean rank first. Kinds that a run does not
            know are left out.
        ranks: by kind and run, its rank among them, the best being 1.
    """

    tuned: Mapping[str, Mapping[str, Tuned]]
    ranks: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, study: Study, runs: Mapping[str, Answers]) -> "Comparison":
        """The kinds of a study in each run, by the run's name."""
        found = {run: answers.tuned_each(study.kinds) for run, answers in runs.items()}
        kinds = [kind for kind in study.kinds if all(kind in each for each in found.values())]
        order = {
            run: sorted(kinds, key=lambda kind: -each[kind].found.mean)
            for run, each in found.items()
        }
        ranks = {kind: {run: each.index(kind) + 1 for run, each in order.items()} for kind in kinds}
        best_first = sorted(kinds, key=lambda kind: fmean(ranks[kind].values()))
        return cls(
            {kind: {run: each[kind] for run, each in found.items()} for kind in best_first}, ranks
        )

    @property
    def orders(self) -> list[Order]:
        """All pairs of kinds."""
        return [
            Order(
                first,
                second,
                {
                    run: _verdict(tuned, self.tuned[second][run])
                    for run, tuned in self.tuned[first].items()
                },
            )
            for first, second in itertools.combinations(self.tuned, 2)
        ]

    @property
    def agreement(self) -> float | None:
        """Kendall's tau of the rankings, the mean over all pairs of runs; None if it has none."""
        from scipy.stats import kendalltau  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

        runs = next(iter(self.ranks.values()), {})
        if len(self.ranks) < 2 or len(runs) < 2:
            return None
        by_run = [[ranks[run] for ranks in self.ranks.values()] for run in runs]
        pairs = itertools.combinations(by_run, 2)
        return fmean(float(kendalltau(one, other).statistic) for one, other in pairs)

    def findings(self) -> list[Finding]:
        """What all runs show, what turns round between them, and what none shows."""
        orders = self.orders
        return [*self._unbeaten(orders), *_in_all(orders), *_turned(orders), self._rest(orders)]

    def table(self) -> TextTable:
        """The kinds, each with its mean and its rank in every run."""
        runs = next(iter(self.ranks.values()), {})
        rows = [
            (
                kind,
                f"{fmean(self.ranks[kind].values()):.1f}",
                *(f"{format_mean(by_run[run].found)} ({self.ranks[kind][run]})" for run in runs),
            )
            for kind, by_run in self.tuned.items()
        ]
        return TextTable("Each kind, tuned, and its rank", ("kind", "mean rank", *runs), rows)

    def _unbeaten(self, orders: Sequence[Order]) -> Iterator[Finding]:
        """The kinds that no run shows to be worse than another."""
        beaten = {each.second for each in orders if each.runs("better")}
        beaten |= {each.first for each in orders if each.runs("worse")}
        unbeaten = [kind for kind in self.tuned if kind not in beaten]
        if unbeaten:
            which = "it" if len(unbeaten) == 1 else "one of them"
            yield Finding(
                f"**{', '.join(unbeaten)}**: no run shows {which} to be worse than another kind.",
                is_shown=False,
            )

    def _rest(self, orders: Sequence[Order]) -> Finding:
        some = [each for each in orders if _is_shown_by_some(each)]
        none = [each for each in orders if not each.runs("better") and not each.runs("worse")]
        tau = self.agreement
        agree = "" if tau is None else f" Kendall's tau of the rankings is {tau:.2f} on average."
        return Finding(
            f"**Of {len(orders)} orders of two kinds**, {len(some)} are shown by some runs and "
            f"contradicted by none, {len(none)} are shown by none.{agree}",
            is_shown=False,
        )


def _verdict(first: Tuned, second: Tuned) -> Verdict:
    over = gain(first.found, second.found)
    return "noise" if over is None else over.verdict


def _is_shown_by_some(order: Order) -> bool:
    shown = {verdict for verdict in order.verdicts.values() if verdict != "noise"}
    return len(shown) == 1 and "noise" in order.verdicts.values()


def _in_all(orders: Sequence[Order]) -> Iterator[Finding]:
    """A sentence for each kind that every run shows to be better than others."""
    beats: dict[str, list[str]] = {}
    for each in orders:
        if len(each.runs("better")) == len(each.verdicts):
            beats.setdefault(each.first, []).append(each.second)
        elif len(each.runs("worse")) == len(each.verdicts):
            beats.setdefault(each.second, []).append(each.first)
    for better, others in beats.items():
        yield Finding(f"**{better}** is better than {', '.join(others)} in every run.", True)


def _turned(orders: Sequence[Order]) -> Iterator[Finding]:
    for each in orders:
        if each.turns:
            yield Finding(
                f"**{each.first}** is better than {each.second} in "
                f"{', '.join(each.runs('better'))}, and worse in {', '.join(each.runs('worse'))}.",
                True,
            )
