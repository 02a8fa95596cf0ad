"""The Pareto front of a search: accuracy up, activated PEFT parameters down.

Only full-length trials count: a pruned or failed trial is never on the front and never picked.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perft.errors import SearchError, unknown
from perft.selection.limit import ActivatedLimit
from perft.trial import AdapterSize, Report, TrialResult

_REASONS = 3  # errors to show for a search without a front

# Shortest part of an MLflow run id that `pick` takes, and what tables show.
RUN_ID_PREFIX = 8


def complete(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The full-length trials, by number, without those that only repeat another one."""
    found = [
        result
        for result in results
        if result.outcome == "complete" and not (result.origin and result.origin.is_confirmation)
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


def knee(front: Sequence[TrialResult]) -> TrialResult:
    """The trial of a front, not empty, after which more parameters gain less accuracy.

    It is the one farthest above the chord between the front's ends, with accuracy and the
    logarithm of the activated parameters both scaled to [0, 1]; of equal ones, the most accurate.
    A front without a bulge has no knee and gives its best trial.
    """
    if len(front) == 1:
        return front[0]
    points = [size_and_report(trial) for trial in front]
    x = np.log([size.activated for size, _ in points])
    y = np.array([objective(report) for _, report in points])
    above = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    # Both ends lie on the chord; rounding must not make one of them the winner.
    above[[0, -1]] = 0.0
    return front[int(np.flatnonzero(above == above.max())[-1])]


def picks(front: Sequence[TrialResult]) -> dict[int, str]:
    """By number of a trial of the front, what it is to be picked as: "best", "knee", both or ""."""
    names = {trial.number: "" for trial in front}
    for name, choose in (("best", best), ("knee", knee)) if front else ():
        number = choose(front).number
        names[number] = f"{names[number]} {name}".strip()
    return names


def pick(
    results: Sequence[TrialResult], how: str = "best", limit: ActivatedLimit | None = None
) -> TrialResult:
    """The full-length trial that a user asks for.

    Args:
        results: all trials of a search.
        how: "best", "knee", an MLflow run id (or its first 8 characters or more), or the number
            of a trial.
        limit: leaves out the trials that activate more.

    Raises:
        SearchError: when there is no such trial; says which there are.
    """
    trials = complete(results)
    if not trials:
        raise SearchError(why_no_front(results))
    if how not in ("best", "knee"):
        chosen = _named(results, how)
        if limit and not limit.allows(size_and_report(chosen)[0]):
            raise SearchError(_too_large([chosen], limit))
        return chosen
    allowed = [trial for trial in trials if not limit or limit.allows(size_and_report(trial)[0])]
    if limit and not allowed:
        raise SearchError(_too_large(trials, limit))
    front = pareto_front(allowed)
    return best(front) if how == "best" else knee(front)


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


def _named(results: Sequence[TrialResult], name: str) -> TrialResult:
    found = [
        result
        for result in results
        if name in (str(result.number), result.run_id)
        or (len(name) >= RUN_ID_PREFIX and result.run_id.startswith(name))
    ]
    if len(found) != 1:
        known = [name for trial in complete(results) for name in (str(trial.number), trial.run_id)]
        raise SearchError(unknown("trial or run id", name, ["best", "knee", *filter(None, known)]))
    if found[0].outcome != "complete":
        numbers = ", ".join(str(trial.number) for trial in complete(results))
        raise SearchError(
            f"trial {found[0].number} is {found[0].outcome}, and only full-length trials have an "
            f"adapter to export; pick one of the trials {numbers}"
        )
    return found[0]


def _too_large(trials: Sequence[TrialResult], limit: ActivatedLimit) -> str:
    smallest = min(trials, key=lambda trial: size_and_report(trial)[0].activated)
    size = size_and_report(smallest)[0]
    which = "" if len(trials) == 1 else "the smallest full-length one, "
    return (
        f"no trial to pick activates at most {limit}: {which}trial {smallest.number}, activates "
        f"{size.activated:,} parameters ({size.activated_percent:.3g}%); raise the limit"
    )
