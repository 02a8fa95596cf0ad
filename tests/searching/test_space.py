"""Spaces are found by name, make sense before anything runs, and draw from their seed alone."""

import dataclasses
from pathlib import Path
from typing import get_args

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.config import (
    VARIANTS,
    ExpertForm,
    ExpertsConfig,
    RoutedConfig,
    SingleConfig,
    TrainingConfig,
)
from perft.errors import ConfigError
from perft.searching.extent import extent_of
from perft.searching.space import REDUCTION_FACTOR, Draw, SearchSpace, find_space, of_length
from perft.trial import TrialConfig
from search_spaces.design_space import suggest_adapter
from searching.spaces import SMALL, package_of, suggest, training


def asked(seed: int = 0) -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


def test_the_shipped_space_is_found_by_name() -> None:
    space = find_space("arithmetic")
    assert space.task == "arithmetic"
    assert space.num_trials >= 12
    for builtin in (True, False):
        drawn = {Draw(space, builtin, 0)(asked(seed)).adapter.variant for seed in range(60)}
        assert len(drawn) == 6, "every variant can be drawn"


def test_commonsense_draws_what_arithmetic_draws_and_trains_it_for_longer() -> None:
    drawn = {
        name: find_space(name).suggest(asked(5), True) for name in ("arithmetic", "commonsense")
    }
    assert drawn["commonsense"].adapter == drawn["arithmetic"].adapter
    assert drawn["commonsense"].training.lr == drawn["arithmetic"].training.lr
    assert drawn["commonsense"].training.max_steps > drawn["arithmetic"].training.max_steps


def test_the_design_space_draws_every_variant_and_every_choice() -> None:
    space = find_space("design_space")
    for builtin in (True, False):
        drawn = [Draw(space, builtin, 0)(asked(seed)).adapter for seed in range(400)]
        assert {config.variant for config in drawn} == set(VARIANTS)
        assert {config.layers for config in drawn} == {"all", "every:2", "last:1"}
        routed = [config for config in drawn if isinstance(config, RoutedConfig)]
        assert {config.normalize_top_k for config in routed} == {True, False}
        assert {config.activation for config in routed} == {"silu", "gelu", "relu"}
        assert rungs(Draw(space, builtin, 0)) == rungs(Draw(find_space("arithmetic"), builtin, 0))


def test_the_design_space_draws_every_form() -> None:
    space = find_space("design_space")
    drawn = [Draw(space, True, 0)(asked(seed)).adapter for seed in range(400)]
    assert {c.form for c in drawn if isinstance(c, ExpertsConfig)} == set(get_args(ExpertForm))


def test_a_space_of_ones_own_draws_the_variants_and_experts_that_it_names() -> None:
    drawn = [
        suggest_adapter(asked(seed), True, ("perft-g", "perft-s"), ("dora", "gelu"))
        for seed in range(40)
    ]
    assert {(c.variant, c.form, c.activation) for c in drawn} == {
        (variant, *expert)
        for variant in ("perft-g", "perft-s")
        for expert in (("dora", "silu"), ("parallel", "gelu"))
    }


def test_an_unknown_space_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'arithmetic'"):
        find_space("arithmetics")
    with pytest.raises(ConfigError, match="unknown search space"):
        find_space("../arithmetic")


def test_a_module_without_a_space_is_refused(tmp_path: Path) -> None:
    with package_of(tmp_path, empty="", wrong="SPACE = 7"):
        for name in ("empty", "wrong"):
            with pytest.raises(ConfigError, match=f"{name}.py has no SPACE"):
                find_space(name)


def test_a_negative_number_of_rungs_is_refused() -> None:
    with pytest.raises(ConfigError, match="rungs must be a whole number of at least 0"):
        dataclasses.replace(SMALL, rungs=-1)


@given(count=st.integers(0, 6), steps=st.integers(1, 300))
def test_steps_of_rungs_ascend_to_the_full_length(count: int, steps: int) -> None:
    rungs = dataclasses.replace(SMALL, rungs=count).steps_of_rungs(steps)
    assert rungs[-1] == steps
    assert rungs[0] >= 1
    assert list(rungs) == sorted(set(rungs))
    assert len(rungs) == min(count, steps.bit_length() - 1) + 1


@given(count=st.integers(0, 6), steps=st.integers(1, 300))
def test_a_report_at_a_rung_counts_at_that_rung_of_asha(count: int, steps: int) -> None:
    rungs = dataclasses.replace(SMALL, rungs=count).steps_of_rungs(steps)
    for i, rung in enumerate(rungs[:-1]):
        milestones = [rungs[0] * REDUCTION_FACTOR**k for k in range(len(rungs))]
        assert milestones[i] <= rung
        assert rung < milestones[i + 1]


def rungs(draw: Draw) -> tuple[int, ...]:
    return draw.space.steps_of_rungs(extent_of(draw).max_steps)


def test_a_draw_follows_from_the_optuna_trial_and_the_seed() -> None:
    draw = Draw(SMALL, True, seed=3)
    assert draw(asked(1)) == draw(asked(1))
    assert draw(asked(1)) != draw(asked(2))
    assert draw(asked(1)).training.seed == 3
    assert dataclasses.replace(draw, seed=4)(asked(1)).adapter == draw(asked(1)).adapter


def test_the_length_can_be_set_and_warm_up_shrinks_with_it() -> None:
    assert rungs(Draw(SMALL, True, 0)) == (5, 10, 20, 40)
    assert rungs(Draw(SMALL, False, 0)) == (10, 20, 40, 80)
    short = Draw(SMALL, True, 0, max_steps=20)
    assert rungs(short) == (2, 5, 10, 20)
    assert short(asked()).training.warmup_steps == 2
    assert rungs(Draw(SMALL, True, 0, max_steps=1)) == (1,)
    assert of_length(training(True), 9, 400).warmup_steps == 8
    with pytest.raises(ConfigError, match="max_steps must be"):
        rungs(Draw(SMALL, True, 0, max_steps=0))


def test_a_length_that_is_the_spaces_own_changes_nothing() -> None:
    long_warm_up = dataclasses.replace(training(True), warmup_steps=20)
    assert of_length(long_warm_up, 3, 40) == of_length(long_warm_up, 3, None)


def test_trials_of_unequal_length_are_refused() -> None:
    def uneven(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        steps = trial.suggest_categorical("steps", (100, 200))
        return TrialConfig(SingleConfig(rank=2), TrainingConfig(lr=1e-3, max_steps=steps))

    draw = Draw(dataclasses.replace(SMALL, suggest=uneven), True, 0)
    with pytest.raises(
        ConfigError, match=r"same max_steps.*draws 100 at steps=100, and 200 at steps=200"
    ):
        rungs(draw)
    assert rungs(dataclasses.replace(draw, max_steps=50))[-1] == 50


def test_a_space_whose_trials_make_no_sense_is_refused_before_a_search() -> None:
    def impossible(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        top_k = trial.suggest_int("top_k", 1, 8)
        return TrialConfig(RoutedConfig(rank=2, num_experts=4, top_k=top_k), training(builtin))

    with pytest.raises(ConfigError, match="top_k must be at most num_experts"):
        rungs(Draw(SearchSpace(task="arithmetic", training=training, suggest=impossible), True, 0))


def test_checking_a_space_draws_nothing_from_the_search() -> None:
    before = Draw(SMALL, True, 0)(asked(5))
    rungs(Draw(SMALL, True, 0))
    assert Draw(SMALL, True, 0)(asked(5)) == before
    assert suggest(asked(5), True).adapter == before.adapter


@pytest.mark.parametrize("expected", [0, -1.0, float("inf"), float("nan"), "much", None, True])
def test_a_prior_that_is_no_positive_number_is_refused_before_a_search(expected: object) -> None:
    def hopes(_config: TrialConfig, _builtin: bool) -> float:
        return expected  # type: ignore[return-value]

    space = dataclasses.replace(SMALL, prior=hopes)
    with pytest.raises(ConfigError, match=r"what hopes \(.*\) returns must be a positive number"):
        rungs(Draw(space, True, 0))


def test_a_prior_is_a_function() -> None:
    with pytest.raises(ConfigError, match="prior must be a function, found 'lr'"):
        dataclasses.replace(SMALL, prior="lr")  # type: ignore[arg-type]
