"""Trials at given parameters of a space: those that a search tries first."""

import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import FixedTrial, create_trial

from perft.errors import ConfigError, unknown
from perft.files import Json
from perft.searching.sampling.sampler import Draft
from perft.trial import TrialConfig

Suggest = Callable[[optuna.Trial], TrialConfig]


def draft_at(draw: Suggest, params: Mapping[str, Json]) -> Draft:
    """What a space draws at these parameters.

    Args:
        draw: draws a trial's configuration from an Optuna trial.
        params: by Optuna's name.

    Raises:
        ConfigError: if one is missing, unknown there, or outside its range; names it.
    """
    trial = FixedTrial(dict(params))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is outside is refused below
        config = draw(trial)  # type: ignore[arg-type]
    if others := sorted(params.keys() - trial.params.keys()):
        raise ConfigError(unknown("parameter", others[0], trial.params))
    try:
        create_trial(params=trial.params, distributions=trial.distributions, value=0.0)
    except ValueError as error:
        raise ConfigError(" ".join(str(error).split())) from error
    return Draft.of(config, trial)


def drafts_at(draw: Suggest, points: Sequence[Mapping[str, Json]]) -> list[Draft]:
    """The drafts of a space's points.

    Raises:
        ConfigError: if one is not of the space; says which.
    """
    found = []
    for number, params in enumerate(points):
        try:
            found.append(draft_at(draw, params))
        except ConfigError as error:
            raise ConfigError(
                f"points[{number}] of the search space is not one of its trials: {error}; it is "
                f"{dict(params)}"
            ) from error
    return found
