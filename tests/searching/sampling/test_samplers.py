"""What every sampler of the table keeps to: it follows from its seed and from what it is told."""

import dataclasses
import math
import sys
from statistics import mean
from types import ModuleType

import optuna
import pytest

from perft.errors import ConfigError, SearchError
from perft.searching.objectives import OBJECTIVES
from perft.searching.prepare import SearchRequest
from perft.searching.sampling.points import draft_at
from perft.searching.sampling.samplers import (
    DEFAULT_SAMPLER,
    SAMPLERS,
    make_sampler,
    require_sampler,
)
from perft.trial import AdapterSize, TrialConfig
from searching.spaces import SMALL
from searching.worlds import loss_of, report, run, sampling, size

TRIALS = 14
FAST = [name for name in SAMPLERS if name != "gp"]
"""Optuna's Gaussian process takes a second per proposal."""


def proposed(
    name: str, seed: int = 0, trials: int = TRIALS, **options: object
) -> list[TrialConfig]:
    """What a search proposes of which every seventh trial fails."""
    made = make_sampler(name, sampling(seed))
    return run(made, trials, failing=lambda number: number % 7 == 6, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FAST)
def test_proposals_follow_from_the_seed(name: str) -> None:
    first = proposed(name, seed=3)
    assert proposed(name, seed=3) == first  # as a search that goes on, told the same
    assert proposed(name, seed=4) != first
    assert len({str(config) for config in first}) > TRIALS // 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposals_are_of_the_space(name: str) -> None:
    for config in proposed(name, trials=12 if name == "gp" else TRIALS):
        assert TrialConfig.from_flat(config.to_flat()) == config
        assert 1e-4 <= config.training.lr <= 1e-1
        assert config.adapter.variant in ("perft-r", "perft-s", "perft-e")


@pytest.mark.parametrize("name", FAST)
def test_only_random_does_not_go_by_what_it_is_told(name: str) -> None:
    def otherwise(config: TrialConfig) -> float:
        return 1.0 / loss_of(config)

    same = proposed(name, trials=20) == proposed(name, trials=20, loss=otherwise)
    assert same == (name == "random")


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["ehvi", "tpe"])
def test_late_proposals_are_better_than_early_ones(name: str, objective: str) -> None:
    losses = [loss_of(each) for each in run(make_sampler(name, sampling(1, objective)), 30)]
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])


def slow_first(config: TrialConfig, _builtin: bool) -> float:
    """Expects most of rates near the lowest, where losses are high."""
    return math.exp(-abs(math.log10(config.training.lr) + 4) * 3)


def test_a_prior_leads_early_proposals_and_not_late_ones() -> None:
    space = dataclasses.replace(SMALL, prior=slow_first)
    made = make_sampler("ehvi", sampling(space=space))
    rates = [math.log10(each.training.lr) for each in run(made, 40)]
    plain = [math.log10(each.training.lr) for each in run(make_sampler("ehvi", sampling()), 40)]
    assert mean(rates[:6]) < -3.4 < mean(plain[:6])
    assert abs(mean(rates[-10:]) + 2) < 0.4, "where losses are least"


@pytest.mark.parametrize("name", FAST)
def test_nothing_above_the_limit_is_proposed(name: str) -> None:
    def allows(found: AdapterSize | None) -> bool:
        return found is not None and found.activated <= 200

    made = make_sampler(name, sampling(allows=allows))
    assert {size(each.adapter).activated for each in run(made, TRIALS)} == {200}


@pytest.mark.parametrize("name", FAST)
def test_a_limit_that_nothing_keeps_ends_the_search(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perft.searching.sampling.candidates.TRIES", 50)
    monkeypatch.setattr("perft.searching.sampling.optuna_sampler.DRAWS", 50)
    with pytest.raises(SearchError, match="raise --max-activated"):
        make_sampler(name, sampling(allows=lambda _size: False)).draw(0)


@pytest.mark.parametrize("name", FAST)
def test_a_sampler_learns_from_trials_that_it_did_not_draw(name: str) -> None:
    def told(best: float) -> list[TrialConfig]:
        made = make_sampler(name, sampling(seed=5))
        for number in range(-20, 0):
            lr = 10 ** (-4 + 3 * (20 + number) / 19)
            draft = draft_at(sampling(5).draw, {"lr": lr, "variant": "perft-s", "rank": 2})
            made.given(number, draft)
            made.reported(number, report(40, 0.1 + abs(lr - best)))
            made.ended(number, "complete")
        return run(made, 6)

    assert (told(1e-4) == told(1e-1)) == (name == "random")


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown sampler 'tp'; did you mean 'tpe'"):
        SearchRequest(space="arithmetic", sampler="tp")
    with pytest.raises(ConfigError, match="unknown sampler 'hub:'"):
        require_sampler("hub:")
    require_sampler(DEFAULT_SAMPLER)


def test_without_optunahub_its_samplers_are_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"hub:auto_sampler .* pip install optunahub"):
        SearchRequest(space="arithmetic", sampler="hub:auto_sampler")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package `optunahub` that has one sampler, `own`, and a module without one, `none`."""

    class OwnSampler(optuna.samplers.RandomSampler):
        pass

    def load_module(package: str) -> ModuleType:
        if package not in ("samplers/own", "samplers/none"):
            raise FileNotFoundError(package)
        module = ModuleType("hub_of_tests")
        module.RandomSampler = optuna.samplers.RandomSampler  # type: ignore[attr-defined]
        if package == "samplers/own":
            OwnSampler.__module__ = "hub_of_tests.sampler"
            module.OwnSampler = OwnSampler  # type: ignore[attr-defined]
        return module

    found = ModuleType("optunahub")
    found.load_module = load_module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "optunahub", found)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    return found


@pytest.mark.usefixtures("hub")
def test_a_sampler_of_optunahub_gets_the_seed() -> None:
    require_sampler("hub:own")
    assert proposed("hub:own", seed=2) == proposed("random", seed=2)


@pytest.mark.usefixtures("hub")
def test_what_optunahub_does_not_have_is_named() -> None:
    with pytest.raises(ConfigError, match="gives no sampler 'absent': samplers/absent"):
        make_sampler("hub:absent", sampling())
    with pytest.raises(ConfigError, match=r"samplers/none of OptunaHub .* found none"):
        make_sampler("hub:none", sampling())
