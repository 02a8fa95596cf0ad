"""Confidence intervals of accuracies: the Wilson score interval of a proportion.

The interval always lies in [0, 1] and holds the proportion itself, also at 0 and 1.
"""

from perft.base_score import BaseScore
from perft.trial import Report

CONFIDENCE = 0.95


def wilson(correct: int, scored: int) -> tuple[float, float]:
    """The 95% Wilson interval of `correct / scored`; (0, 1) when nothing was scored.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 22 (1927), as computed by SciPy.
    """
    if scored == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

    interval = binomtest(correct, scored).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy_interval(report: Report) -> tuple[float, float]:
    """The 95% interval of a report's validation accuracy."""
    return wilson(report.correct, report.scored)


def format_score(report: Report) -> str:
    """A trial's accuracy and interval in percent: "77.0% (72.6-80.9)".

    If the task scores no answers, the validation loss in nats per token: "loss 0.1234".
    """
    if not report.scored:
        return f"loss {report.val_loss:.4f}"
    return format_share(report.correct, report.scored)


def format_base(base: BaseScore) -> str:
    """The score of the base alone as `format_score` writes a trial's; 1/2 on pairs of answers."""
    if base.is_tie:
        return f"{base.accuracy:.1%} (by definition)"
    if not base.validation.scored:
        return f"loss {base.val_loss:.4f}"
    return format_share(*base.validation)


def format_share(correct: int, scored: int) -> str:
    """A share of right answers and its interval in percent: "77.0% (72.6-80.9)"."""
    low, high = wilson(correct, scored)
    return f"{correct / max(1, scored):.1%} ({100 * low:.1f}-{100 * high:.1f})"
