"""The Pareto front of a search: accuracy up, activated PEFT parameters down.

Only full-length trials count: a pruned or failed trial is never on the front and never picked. Nor
is a confirmation, which only repeats a trial of the front with another seed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from perft.trial import AdapterSize, Report, TrialResult, is_confirmation

_REASONS = 3  # errors to show for a search without a front


def complete(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The full-length trials that may be on the front, by number."""
    found = [
        each for each in results if each.outcome == "complete" and not is_confirmation(each.origin)
    ]
    return sorted(found, key=lambda result: result.number)


def size_and_report(result: TrialResult) -> tuple[AdapterSize, Report]:
    """Size and last report of a full-length trial, which always has both."""
    assert result.size is not None, f"complete trial {result.number} without a size"
    assert result.last is not None, f"complete trial {result.number} without a report"
    return result.size, result.last


def pareto_front(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The full-length trials that no other one beats, by activated parameters.

    A trial is beaten by one with at least its accuracy and at most its activated parameters, not
    both equal. Of trials equal in both, the one with the lower validation loss stays, then the
    lower number. Along the front, both values rise strictly.
    """
    trials = complete(results)
    points = [size_and_report(trial) for trial in trials]
    kept = front_indices(
        np.array([size.activated for size, _ in points], dtype=np.int64),
        np.array([objective(report) for _, report in points], dtype=np.float64),
        np.array([report.val_loss for _, report in points], dtype=np.float64),
    )
    return [trials[index] for index in kept]


def is_scored(trials: Sequence[TrialResult]) -> bool:
    """Whether the task of these full-length trials scores answers."""
    return all(size_and_report(trial)[1].scored for trial in trials)


def objective(report: Report) -> float:
    """What a search maximises: the accuracy, or minus the loss if the task scores no answers."""
    return report.accuracy if report.scored else -report.val_loss


def front_indices(
    activated: npt.NDArray[np.int64],
    accuracy: npt.NDArray[np.float64],
    val_loss: npt.NDArray[np.float64],
) -> npt.NDArray[np.intp]:
    """Indices of the front, by activated parameters; all three arrays have shape (trials,).

    Points equal in activated parameters and accuracy are represented by the one with the lowest
    validation loss, then the lowest index.
    """
    # The sort is stable: trials equal in all keys stay in order of index.
    order = np.lexsort((val_loss, -accuracy, activated))
    so_far = np.maximum.accumulate(np.concatenate(([-np.inf], accuracy[order])))
    return order[accuracy[order] > so_far[:-1]]


def best(front: Sequence[TrialResult]) -> TrialResult:
    """The most accurate trial of a front that is not empty."""
    return front[-1]


def knee(front: Sequence[TrialResult], merits: Mapping[int, float] | None = None) -> TrialResult:
    """The trial of a front, not empty, after which more parameters gain less accuracy.

    It is the one farthest above the chord between the front's ends, with accuracy and the
    logarithm of the activated parameters both scaled to [0, 1]; of equal ones, the most accurate.
    A front without a bulge has no knee and gives its best trial.

    Args:
        front: along which activated parameters and accuracy rise strictly.
        merits: by number, what counts in place of `objective`; None for that.
    """
    if len(front) == 1:
        return front[0]
    points = [size_and_report(trial) for trial in front]
    values = merits or {t.number: objective(r) for t, (_, r) in zip(front, points, strict=True)}
    x = np.log([size.activated for size, _ in points])
    y = np.array([values[trial.number] for trial in front])
    above = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    # Both ends lie on the chord; rounding must not make one of them the winner.
    above[[0, -1]] = 0.0
    return front[int(np.flatnonzero(above == above.max())[-1])]


def why_no_front(results: Sequence[TrialResult]) -> str:
    """Why a search has no front, and what to do."""
    outcomes = [result.outcome for result in results]
    pruned, failed = outcomes.count("pruned"), outcomes.count("failed")
    said = (
        f"no trial of this search ran to its full length yet ({len(outcomes)} ended: {pruned} "
        f"pruned, {failed} failed)"
    )
    if not failed:
        return f"{said}; let it go on, or give it more trials"
    reasons = sorted({result.error for result in results if result.error})
    more = f"; and {len(reasons) - _REASONS} reasons more" if len(reasons) > _REASONS else ""
    return f"{said}: {'; '.join(reasons[:_REASONS])}{more}"
