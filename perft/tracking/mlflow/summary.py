"""What the run of a search says of its trials in numbers; a pure function of the records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from perft.selection import pareto_front, picked_of
from perft.selection.front import size_and_report
from perft.selection.hypervolume import hypervolume_of, reference_for
from perft.tracking.mlflow.values import test_values
from perft.tracking.records import SearchRecord, TrialRecord
from perft.trial import Outcome, TrialResult

ENDED = "trials_ended"
"""The step of the metrics of a search: how many of its trials have ended."""


def ended(trials: Mapping[int, TrialRecord]) -> list[tuple[int, TrialResult]]:
    """The trials that have ended with the times of that, in that order."""
    found = [
        (trial.ended or trial.latest, result)
        for trial in trials.values()
        if (result := trial.result()) is not None
    ]
    return sorted(found, key=lambda each: (each[0], each[1].number))


def summary(results: Sequence[TrialResult]) -> dict[str, float]:
    """Counts of the trials that have ended, and what the picked ones reach.

    The names of the picked trials' values begin with "best_" and "knee_", those of counts with
    "trials_".
    """
    outcomes = Counter(result.outcome for result in results)
    values: dict[str, float] = {ENDED: len(results)}
    values |= {f"trials_{outcome}": outcomes[outcome] for outcome in get_args(Outcome)}
    values["front_size"] = len(pareto_front(results))
    for name, trial in picked_trials(results).items():
        size, report = size_and_report(trial)
        values[f"{name}_val_loss"] = report.val_loss
        values[f"{name}_activated_parameters"] = size.activated
        if report.scored:
            values[f"{name}_accuracy"] = report.accuracy
    return values


def conclusion(results: Sequence[TrialResult], search: SearchRecord) -> dict[str, float]:
    """What is known when a search has ended: test scores, hypervolume, hours."""
    values: dict[str, float] = {}
    for name, trial in picked_trials(results).items():
        for split, count in search.scores.get(trial.number, {}).items():
            values |= {f"{name}_{each}": value for each, value in test_values(split, count).items()}
    is_builtin = search.params.get("base_model") is None
    if reference := reference_for(results, is_builtin=is_builtin):
        values["hypervolume"] = hypervolume_of(results, reference)
    if search.seconds is not None:
        values["hours"] = search.seconds / 3600
    if search.gpu_seconds:
        values["gpu_hours"] = search.gpu_seconds / 3600
    return values


def picked_trials(results: Sequence[TrialResult]) -> dict[str, TrialResult]:
    """The best trial and the knee, by these names; empty if there is no front."""
    picked = picked_of(results)
    return {} if picked is None else {"best": picked.best, "knee": picked.knee}
