"""What trainings with other seeds say of the trials of a front.

The best of many noisy trials is flattered: it was chosen because it did well, by luck too. Its
confirmations are trained with other seeds and choose nothing, so their mean is not flattered; a
trial's own score is left out of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, variance

from perft.selection.front import objective, pareto_front, size_and_report
from perft.selection.interval import CONFIDENCE
from perft.selection.paired import Verdict
from perft.trial import TrialResult, is_confirmation


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A trial of the front and its trainings with other seeds.

    Attributes:
        trial: its number.
        values: `objective` of each full-length training with another seed, in their order: the
            accuracy in [0, 1], or minus the loss.
        failed: trainings with other seeds that did not end at full length.
        scored: validation examples of each accuracy; 0 for losses.
        seeds: those of the trainings of the values.
    """

    trial: int
    values: tuple[float, ...]
    failed: int = 0
    scored: int = 0
    seeds: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Mean of the values; there must be one."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation of one training; None for fewer than two."""
        return math.sqrt(variance(self.values)) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean; None without a spread.

        It is of other seeds and other examples. Its variance is that of the mean over the seeds and
        that of a share of so many examples; Student's t has the degrees of freedom of Welch and
        Satterthwaite.
        """
        if self.spread is None:
            return None
        reach = _quantile(_Error.of(self)) if self.values else 0.0
        low, high = self.mean - reach, self.mean + reach
        return (max(0.0, low), min(1.0, high)) if self.scored else (low, high)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The mean of a trial over that of the next smaller one on the front.

    Attributes:
        difference: of their means.
        p_value: probability of a difference at least as large if other seeds and other examples
            made no difference on average.
        verdict: "noise" if neither is better at 95% confidence.
    """

    difference: float
    p_value: float
    verdict: Verdict


def confirmed(results: Sequence[TrialResult]) -> dict[int, Confirmed]:
    """By number, the trials of the front with a confirmation that has ended, in the front's order.

    Args:
        results: all trials of a search.
    """
    again: dict[int | None, list[TrialResult]] = {}
    for result in results:
        if result.origin is not None and is_confirmation(result.origin):
            again.setdefault(result.origin.trial, []).append(result)
    front = [trial for trial in pareto_front(results) if trial.number in again]
    return {trial.number: _confirmed(trial, again[trial.number]) for trial in front}


def gain(larger: Confirmed, smaller: Confirmed) -> Gain | None:
    """Whether a trial differs from another by more than noise; None without a spread of both.

    Welch's t-test over the trainings, with the variance of a share of so many examples beside that
    of the seeds. The examples are the same, which is not used: it errs towards noise.
    """
    if larger.spread is None or smaller.spread is None:
        return None
    difference = larger.mean - smaller.mean
    p_value = _p_value(difference, _Error.of(larger) + _Error.of(smaller))
    verdict: Verdict = "noise"
    if p_value < 1 - CONFIDENCE:
        verdict = "better" if difference > 0 else "worse"
    return Gain(difference=difference, p_value=p_value, verdict=verdict)


def gains(results: Sequence[TrialResult]) -> dict[int, Gain]:
    """By number, the gain of each trial of the front over the next smaller one, where known."""
    front, known = pareto_front(results), confirmed(results)
    found = {}
    for smaller, larger in pairwise(front):
        if smaller.number in known and larger.number in known:
            found[larger.number] = gain(known[larger.number], known[smaller.number])
    return {number: each for number, each in found.items() if each is not None}


def merits(results: Sequence[TrialResult]) -> dict[int, float]:
    """By number, what decides between the trials of the front: higher is better.

    The means over other seeds, once each trial of the front has a confirmation that has ended;
    until then each one's own `objective`, since a mean and a flattered score cannot be compared. A
    trial of which every confirmation failed is left out.
    """
    front, known = pareto_front(results), confirmed(results)
    means = {number: each.mean for number, each in known.items() if each.values}
    if means and len(known) == len(front):
        return means
    return {trial.number: objective(size_and_report(trial)[1]) for trial in front}


def rising(front: Sequence[TrialResult], merits_of: Mapping[int, float]) -> list[TrialResult]:
    """The trials of a front that are still better than all smaller ones, by these merits."""
    kept: list[TrialResult] = []
    for trial in front:
        merit = merits_of.get(trial.number, -math.inf)
        if merit > max((merits_of[other.number] for other in kept), default=-math.inf):
            kept.append(trial)
    return kept


def confirmed_rows(results: Sequence[TrialResult]) -> dict[int, dict[str, float | None]]:
    """By number of a trial of the front, its `confirmed_columns`; without the others."""
    over = gains(results)
    return {
        number: confirmed_columns(found, over.get(number))
        for number, found in confirmed(results).items()
    }


def confirmed_columns(found: Confirmed, over: Gain | None = None) -> dict[str, float | None]:
    """What a table says of a trial's trainings with other seeds.

    The mean, the standard deviation of one training and the 95% interval of the mean; of the
    accuracy, or of the loss if answers are not scored. Of the gain over the next smaller trial,
    how much better the mean is, and its p-value.
    """
    if not found.values:
        return {}
    sign = 1 if found.scored else -1
    ends = sorted(sign * end for end in found.interval) if found.interval else (None, None)
    columns = {
        "confirmed_trainings": len(found.values),
        "confirmed_mean": sign * found.mean,
        "confirmed_spread": found.spread,
        "confirmed_low": ends[0],
        "confirmed_high": ends[1],
    }
    if over is not None:
        columns |= {"confirmed_gain": over.difference, "confirmed_gain_p": over.p_value}
    return columns


def format_mean(found: Confirmed) -> str:
    """Mean and spread of at least one training: "76.1% ± 1.2%"."""
    write = _writer(found)
    spread = "" if found.spread is None else f" ± {write(found.spread)}"
    return f"{write(abs(found.mean))}{spread}"


def format_interval(found: Confirmed) -> str:
    """The 95% interval of the mean, "74.0% to 78.2%"; empty without one."""
    ends = sorted(map(abs, found.interval)) if found.interval else []
    return " to ".join(map(_writer(found), ends))


def format_confirmed(found: Confirmed) -> str:
    """Mean, spread and number of the trainings: "76.1% ± 1.2% (3)"; "(2 of 3)" if one failed."""
    ended = len(found.values)
    count = f"({ended} of {ended + found.failed})" if found.failed else f"({ended})"
    return f"{format_mean(found)} {count}" if found.values else count


def _writer(found: Confirmed) -> Callable[[float], str]:
    return "{:.1%}".format if found.scored else "{:.4f}".format


def format_gain(found: Gain, *, scored: bool) -> str:
    """The gain of a larger trial: "+2.1% p 0.03", "+0.4% noise"; of losses, how much lower."""
    size = f"{found.difference:+.1%}" if scored else f"{-found.difference:+.4f}"
    return f"{size} {'noise' if found.verdict == 'noise' else f'p {found.p_value:.1g}'}"


def _confirmed(trial: TrialResult, again: Sequence[TrialResult]) -> Confirmed:
    ended = [one for one in again if one.outcome == "complete"]
    reports = [size_and_report(one)[1] for one in ended]
    return Confirmed(
        trial=trial.number,
        values=tuple(objective(report) for report in reports),
        failed=len(again) - len(reports),
        scored=min((report.scored for report in reports), default=0),
        seeds=tuple(one.config.training.seed for one in ended),
    )


@dataclass(frozen=True)
class _Error:
    """The squared error of a mean: its variance, and that of this estimate's own part of seeds.

    Attributes:
        variance: of the mean.
        per_freedom: sum of (variance over seeds)^2 / degrees of freedom.
    """

    variance: float
    per_freedom: float

    @classmethod
    def of(cls, found: Confirmed) -> "_Error":
        count = len(found.values)
        seeds = variance(found.values) / count
        return cls(seeds + _of_examples(found), seeds**2 / (count - 1))

    def __add__(self, other: "_Error") -> "_Error":
        return _Error(self.variance + other.variance, self.per_freedom + other.per_freedom)

    @property
    def freedom(self) -> float:
        """Degrees of freedom (Welch 1947, Biometrika 34; Satterthwaite 1946)."""
        return self.variance**2 / self.per_freedom if self.per_freedom else math.inf


def _of_examples(found: Confirmed) -> float:
    """Variance of a share of `scored` examples, of the Agresti-Coull estimate: never 0."""
    if not found.scored:
        return 0.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    count = found.scored + z * z
    share = (found.mean * found.scored + z * z / 2) / count
    return share * (1 - share) / count


def _quantile(error: _Error) -> float:
    """Half the length of the 95% interval."""
    from scipy.stats import t  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

    return float(t.ppf((1 + CONFIDENCE) / 2, error.freedom)) * math.sqrt(error.variance)


def _p_value(difference: float, error: _Error) -> float:
    """Two-sided."""
    from scipy.stats import t  # noqa: PLC0415 - slow

    if not error.variance:
        return float(difference == 0)
    return float(2 * t.sf(abs(difference) / math.sqrt(error.variance), error.freedom))
