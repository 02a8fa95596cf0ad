"""The corner cases of a space are found along every branch that it has, without a search."""

import dataclasses

import optuna
import pytest

from perft.config import (
    DenseConfig,
    EmbeddedConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.errors import ConfigError
from perft.searching.size_extremes import extreme_adapters, size_extremes
from perft.searching.space import SearchSpace, find_space
from perft.trial import AdapterSize, TrialConfig
from searching.spaces import SMALL, training


def space_of(draw) -> SearchSpace:
    """A space of the adapters that `draw` makes of an Optuna trial."""

    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        return TrialConfig(draw(trial), training(builtin))

    return dataclasses.replace(SMALL, suggest=suggest)


def test_every_branch_is_taken_and_every_adapter_is_named_once() -> None:
    assert set(extreme_adapters(SMALL, True)) == {
        *(RoutedConfig(rank=r, num_experts=m, top_k=1) for r in (2, 4) for m in (2, 4)),
        *(kind(rank=r) for kind in (SingleConfig, EmbeddedConfig) for r in (2, 4)),
    }
    assert len(extreme_adapters(SMALL, True)) == 8


def test_ranges_are_taken_at_their_ends_and_those_may_depend_on_what_came_before() -> None:
    def draw(trial: optuna.Trial) -> RoutedConfig:
        rank = trial.suggest_int("rank", 3, 17)
        experts = trial.suggest_int("experts", 2, 16, step=2)
        top_k = trial.suggest_int("top_k", 1, experts)
        dropout = trial.suggest_float("dropout", 0.1, 0.5)
        return RoutedConfig(rank=rank, num_experts=experts, top_k=top_k, dropout=dropout)

    assert set(extreme_adapters(space_of(draw), True)) == {
        RoutedConfig(rank=rank, num_experts=experts, top_k=top_k, dropout=0.1)
        for rank in (3, 17)
        for experts, top_k in ((2, 1), (2, 2), (16, 1), (16, 16))
    }


def test_ranges_of_one_value_and_spaces_without_choices_have_one_corner() -> None:
    assert extreme_adapters(space_of(lambda trial: SingleConfig(rank=3)), True) == (
        SingleConfig(rank=3),
    )
    fixed = space_of(lambda trial: SingleConfig(rank=trial.suggest_int("rank", 5, 5)))
    assert extreme_adapters(fixed, False) == (SingleConfig(rank=5),)


def test_a_branch_that_ends_early_does_not_hide_the_next() -> None:
    """The first branch asks three times, the second never, the third twice."""

    def draw(trial: optuna.Trial) -> SingleConfig:
        branch = trial.suggest_categorical("branch", ("deep", "flat", "wide"))
        if branch == "deep":
            return SingleConfig(
                rank=trial.suggest_int("a", 1, 2) + trial.suggest_categorical("b", (10, 20, 30))
            )
        return SingleConfig(rank=trial.suggest_int("c", 7, 9) if branch == "wide" else 5)

    ranks = [config.rank for config in extreme_adapters(space_of(draw), True)]
    assert ranks == [11, 21, 31, 12, 22, 32, 5, 7, 9]


def test_the_shipped_space_has_corners_for_both_kinds_of_base() -> None:
    for builtin, ranks in ((True, {2, 4, 8, 16}), (False, {4, 8, 16, 32})):
        found = extreme_adapters(find_space("arithmetic"), builtin)
        assert len({config.variant for config in found}) == 6
        assert {config.rank for config in found} == ranks
        assert RoutedConfig(rank=max(ranks), num_experts=8, top_k=4) in found
        assert LoraRouterConfig(rank=min(ranks)) in found


def test_a_space_that_draws_what_makes_no_sense_is_refused() -> None:
    def draw(trial: optuna.Trial) -> RoutedConfig:
        return RoutedConfig(rank=2, num_experts=4, top_k=trial.suggest_int("top_k", 1, 8))

    with pytest.raises(ConfigError, match="top_k must be at most num_experts"):
        extreme_adapters(space_of(draw), True)


def test_smallest_and_largest_of_a_variant_are_by_trainable_then_activated() -> None:
    def sized(trainable: int, activated: int) -> AdapterSize:
        return AdapterSize(trainable=trainable, activated=activated, base_activated=100)

    routed = [RoutedConfig(rank=2, num_experts=4, top_k=k) for k in (1, 2, 3, 4)]
    sizes = {
        routed[0]: sized(30, 10),
        routed[1]: sized(30, 20),
        routed[2]: sized(10, 9),
        routed[3]: sized(10, 3),
        DenseConfig(rank=2, num_experts=2): sized(50, 50),
    }
    found = size_extremes(sizes)
    assert list(found) == ["perft-r", "perft-d"]
    assert [config for config, _ in found["perft-r"]] == [routed[3], routed[1]]
    assert found["perft-d"][0] == found["perft-d"][1]
    assert found["perft-r"][1][1] == sized(30, 20)


def test_the_corners_of_a_space_bound_whatever_it_draws() -> None:
    """Ranks and numbers of experts of 200 random draws lie between the extreme ones."""
    space = find_space("arithmetic")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    extreme = set(extreme_adapters(space, True))
    drawn = {space.suggest(study.ask(), True).adapter for _ in range(200)}
    assert drawn <= extreme  # all its choices are categorical
