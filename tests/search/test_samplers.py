"""What every sampler of the table keeps to: it follows from its seed and from what it is told."""

import math
from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState

from perft.errors import ConfigError
from perft.search.prepare import SearchRequest
from perft.search.samplers import DEFAULT_SAMPLER, SAMPLERS
from perft.search.space import Draw
from perft.trial import TrialConfig
from search.spaces import SMALL

TRIALS = 24
Tell = Callable[[TrialConfig], float]


def by_rate(config: TrialConfig) -> float:
    """A loss that is least at one learning rate."""
    return abs(math.log10(config.training.lr) + 2.0)


def proposed(name: str, seed: int, tell: Tell = by_rate) -> list[TrialConfig]:
    """What a search proposes of which every third trial is pruned and every seventh fails."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=SAMPLERS[name](seed))
    draw, found = Draw(SMALL, True, seed), []
    for number in range(TRIALS):
        trial = study.ask()
        found.append(draw(trial))
        trial.report(tell(found[-1]), 10)
        if number % 7 == 6:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 3 == 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, tell(found[-1]))
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposals_follow_from_the_seed(name: str) -> None:
    first = proposed(name, seed=3)
    assert proposed(name, seed=3) == first  # as a search that goes on, told the same
    assert proposed(name, seed=4) != first
    assert len({str(config) for config in first}) > TRIALS // 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposals_are_of_the_space(name: str) -> None:
    for config in proposed(name, seed=0):
        assert TrialConfig.from_flat(config.to_flat()) == config
        assert 1e-4 <= config.training.lr <= 1e-1
        assert config.adapter.variant in ("perft-r", "perft-s", "perft-e")


def test_tpe_goes_by_what_it_is_told_and_random_does_not() -> None:
    def otherwise(config: TrialConfig) -> float:
        return -by_rate(config)

    assert proposed("tpe", 0) != proposed("tpe", 0, otherwise)
    assert proposed("random", 0) == proposed("random", 0, otherwise)


def test_tpe_is_optunas_own() -> None:
    assert DEFAULT_SAMPLER == "tpe"
    assert type(SAMPLERS["tpe"](0)) is optuna.samplers.TPESampler


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown sampler 'tp'; did you mean 'tpe'"):
        SearchRequest(space="arithmetic", sampler="tp")
