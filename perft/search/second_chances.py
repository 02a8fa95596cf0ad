"""Which stopped trials are worth continuing, once no new ones are drawn."""

from collections.abc import Collection, Sequence

from perft.trial import TrialResult


def most_promising(results: Sequence[TrialResult], taken: Collection[int]) -> list[TrialResult]:
    """The stopped trials, the most promising first.

    A trial is the more promising, the less its loss was above the lowest that any trial of at most
    its activated parameters had at the same rung; of equal ones, the one that got farther.

    Args:
        results: all trials that have ended.
        taken: numbers of those that were continued before.
    """
    stopped = [
        each
        for each in results
        if each.outcome == "pruned" and each.number not in taken and each.reports
    ]
    return sorted(stopped, key=lambda each: (_gap(each, results), -_last_step(each), each.number))


def _last_step(trial: TrialResult) -> int:
    return trial.reports[-1].step


def _gap(trial: TrialResult, results: Sequence[TrialResult]) -> float:
    """How far the loss is above the lowest at its rung of any trial that is not larger."""
    size, last = trial.size, trial.reports[-1]
    assert size is not None, "a trial that has reported has a size"
    others = (
        report.val_loss
        for other in results
        if other.size is not None and other.size.activated <= size.activated
        for report in other.reports
        if report.step == last.step
    )
    return last.val_loss / min(others) - 1
