"""What is picked from a search's front: the best trial, the knee, or the one that a user names."""

from collections.abc import Sequence
from dataclasses import dataclass

from perft.errors import SearchError, unknown
from perft.selection.confirm import merits, rising
from perft.selection.front import (
    complete,
    knee,
    pareto_front,
    size_and_report,
    why_no_front,
)
from perft.selection.limit import ActivatedLimit
from perft.trial import TrialResult, is_confirmation

RUN_ID_PREFIX = 8
"""Shortest part of an MLflow run id that `pick` takes, and what tables show."""


@dataclass(frozen=True)
class Picked:
    """The two trials of a front that are picked by name; they may be the same."""

    best: TrialResult
    knee: TrialResult


def picked_of(results: Sequence[TrialResult]) -> Picked | None:
    """The best trial and the knee of the front; None if there is no front.

    Their own scores decide, or, once all of the front is confirmed, the means over other seeds
    (`perft.selection.confirm.merits`). By means a larger trial may be no better than a smaller one:
    it is then neither.
    """
    by_merit = merits(results)
    front = rising(pareto_front(results), by_merit)
    return Picked(front[-1], knee(front, by_merit)) if front else None


def picks(results: Sequence[TrialResult]) -> dict[int, str]:
    """By number of a trial of the front, what it is to be picked as: "best", "knee", both or ""."""
    picked = picked_of(results)
    names = {trial.number: "" for trial in pareto_front(results)}
    for name, trial in (("best", picked.best), ("knee", picked.knee)) if picked else ():
        names[trial.number] = f"{names[trial.number]} {name}".strip()
    return names


def pick(
    results: Sequence[TrialResult], how: str = "best", limit: ActivatedLimit | None = None
) -> TrialResult:
    """The full-length trial that a user asks for.

    Args:
        results: all trials of a search.
        how: "best", "knee", an MLflow run id (or its first 8 characters or more), or the number
            of a trial. Once the front is confirmed, means over other seeds decide what is best.
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
    allowed = [each for each in results if not limit or (each.size and limit.allows(each.size))]
    picked = picked_of(allowed)
    if picked is None:
        assert limit, "there are full-length trials"
        raise SearchError(_too_large(trials, limit))
    return picked.best if how == "best" else picked.knee


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
    if (origin := found[0].origin) is not None and is_confirmation(origin):
        raise SearchError(
            f"trial {found[0].number} only repeats trial {origin.trial} with another seed, to "
            f"measure its noise; pick trial {origin.trial}"
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
