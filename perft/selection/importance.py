"""How much each parameter of a search mattered: Optuna's PED-ANOVA on its results.

Source: S. Watanabe, A. Bansal and F. Hutter, PED-ANOVA: Efficiently Quantifying Hyperparameter
Importance in Arbitrary Subspaces (IJCAI 2023), in Optuna's version for conditional parameters. It
compares how a parameter is spread among the best trials with how it is spread among all.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial
from rich.box import SIMPLE_HEAD
from rich.table import Table

from perft.files import Json
from perft.selection.full_length import FullLength
from perft.trial import TrialResult, is_confirmation

FEWEST = 8
"""Trials from which on importances say anything."""
SHOWN = 10
"""Parameters in a table and in a picture; what is left out mattered least."""
_BEST = 5  # trials at least among the best, as Optuna recommends
_SHARE = 0.1  # of all trials that are the best
_DECADE = 10.0  # a range this wide is compared by its logarithm

Params = Mapping[str, Json]
_Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much a parameter mattered; each of the shares adds up to 1 over all parameters.

    Attributes:
        parameter: its name.
        accuracy: its share in being among the most accurate trials, whatever their size.
        front: its share in being on or near the Pareto front.
    """

    parameter: str
    accuracy: float
    front: float


def importances(results: Sequence[TrialResult]) -> list[Importance]:
    """The importance of each parameter that varied, greatest for the front first.

    A stopped trial counts with what it would have reached (`FullLength`): the survivors alone would
    say little about what made the others stop. Confirmations, which only repeat a trial, do not
    count. If answers are not scored, "accurate" means of a low validation loss.

    Args:
        results: all trials of a search.

    Returns:
        Empty for fewer than `FEWEST` trials with a report.
    """
    trials = [each for each in results if each.last and each.size and _is_drawn(each)]
    if len(trials) < FEWEST:
        return []
    params = [params_of(each) for each in trials]
    distributions = _distributions(params)
    values = list(zip(_objectives(trials), _sizes(trials), strict=True))
    ended = [
        create_trial(
            params={name: each[name] for name in each if name in distributions},
            distributions={name: distributions[name] for name in each if name in distributions},
            values=value,
        )
        for each, value in zip(params, values, strict=True)
    ]
    front = _shares(ended, ["maximize", "minimize"])
    for trial, value in zip(ended, values, strict=True):
        trial.values = value[:1]
    accuracy = _shares(ended, ["maximize"])
    found = [
        Importance(parameter=name, accuracy=accuracy[name], front=front[name]) for name in front
    ]
    return sorted(found, key=lambda each: (-each.front, -each.accuracy, each.parameter))


def importance_table(found: Sequence[Importance]) -> Table:
    """The parameters for a terminal, greatest importance for the front first."""
    table = Table(title="Importance of parameters", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("parameter", no_wrap=True)
    for heading in ("for the front", "for the accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found[:SHOWN]:
        table.add_row(each.parameter, f"{each.front:.0%}", f"{each.accuracy:.0%}")
    return table


def _is_drawn(trial: TrialResult) -> bool:
    """Whether its last loss is finite, and it is no repetition of another."""
    is_known = trial.last is not None and math.isfinite(trial.last.val_loss)
    return is_known and not is_confirmation(trial.origin)


def _objectives(trials: Sequence[TrialResult]) -> list[float]:
    steps = max(trial.reports[-1].step for trial in trials)
    full_length = FullLength((trial.reports for trial in trials), steps)
    return [full_length.objective(trial.reports[-1]) for trial in trials]


def _sizes(trials: Sequence[TrialResult]) -> list[float]:
    return [math.log(trial.size.activated) for trial in trials if trial.size]


def params_of(trial: TrialResult) -> Params:
    """The parameters that a trial was drawn with; its settings if those are unknown."""
    return trial.params or trial.config.to_flat()


def _distributions(params: Sequence[Params]) -> dict[str, BaseDistribution]:
    """By parameter that varies, what its values are taken from: real numbers, or a choice."""
    found: dict[str, BaseDistribution] = {}
    for name in sorted({name for each in params for name in each}):
        values = [each[name] for each in params if name in each]
        if len(set(map(repr, values))) > 1:
            found[name] = _distribution(values)
    return found


def _distribution(values: Sequence[Json]) -> BaseDistribution:
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) == len(values):
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=0 < low * _DECADE < high)
    choices: list[CategoricalChoiceType] = sorted(set(values), key=repr)  # type: ignore[arg-type]
    return CategoricalDistribution(choices)


def _shares(trials: Sequence[FrozenTrial], directions: Sequence[_Direction]) -> dict[str, float]:
    with _quiet():
        study = optuna.create_study(directions=directions)
        study.add_trials(trials)
        quantile = min(max(_SHARE, _BEST / len(trials)), 0.5)
        return get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile)
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Optuna neither logs the study nor warns of conditional parameters of few trials."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
