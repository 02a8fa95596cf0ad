"""Settings of an adapter that make no sense are refused, with what to do instead."""

import dataclasses
import math
import pickle

import pytest
from building import CLASSES, adapters, build
from hypothesis import given

from perft.config import (
    VARIANTS,
    AdapterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.errors import AdapterError, ConfigError


def test_every_variant_has_a_class_of_its_own():
    assert set(VARIANTS) == set(CLASSES)
    assert {config.variant for config in map(build, VARIANTS)} == set(VARIANTS)


@given(adapters())
def test_adapter_is_a_value(config: AdapterConfig):
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(dataclasses.replace(config)) == hash(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.rank = 3  # type: ignore[misc]


def test_scale_is_alpha_over_rank_and_two_by_default():
    assert SingleConfig(rank=16).scale == 2.0
    assert SingleConfig(rank=16, alpha=4.0).scale == 0.25


def test_defaults_are_an_exact_no_op_without_dropout():
    config = RoutedConfig(rank=4, num_experts=2, top_k=1)
    assert (config.init, config.form, config.dropout) == ("lora", "lora", 0.0)
    assert not config.normalize_top_k


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rank", [0, -1, 2.0, "4", True, None, math.nan])
def test_rank_must_be_a_whole_positive_number(variant: str, rank: object):
    with pytest.raises(ConfigError, match="rank must be a whole number of at least 1, found"):
        build(variant, rank=rank)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan, "16", True])
def test_alpha_must_be_positive_and_finite(variant: str, alpha: object):
    with pytest.raises(ConfigError, match="alpha must be a positive number, found"):
        build(variant, alpha=alpha)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dropout", [1.0, -0.1, math.nan, "0.1", None])
def test_dropout_must_be_a_probability_below_one(variant: str, dropout: object):
    with pytest.raises(ConfigError, match=r"dropout must be in \[0, 1\), found"):
        build(variant, dropout=dropout)


@pytest.mark.parametrize("init", ["Lora", "zero", "", None, 3])
def test_unknown_initialisation_is_refused(init: object):
    with pytest.raises(ConfigError, match=r"unknown init .*\(known: lora, perft\)"):
        build("perft-s", init=init)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("perft")])
def test_unknown_form_is_refused_with_the_nearest(variant: str):
    with pytest.raises(ConfigError, match="unknown form 'paralel'; did you mean 'parallel'"):
        build(variant, form="paralel")


@pytest.mark.parametrize(
    ("variant", "name"),
    [("perft-r", "num_experts"), ("perft-r", "top_k"), ("perft-d", "num_experts")],
)
@pytest.mark.parametrize("value", [0, -2, 1.0, "2", True])
def test_numbers_of_experts_must_be_whole_and_positive(variant: str, name: str, value: object):
    with pytest.raises(ConfigError, match=f"{name} must be a whole number of at least 1"):
        build(variant, **{name: value})


def test_top_k_may_be_all_experts_but_not_more():
    RoutedConfig(rank=2, num_experts=3, top_k=3)
    with pytest.raises(ConfigError, match=r"at most num_experts, found top_k=4 .* lower top_k"):
        RoutedConfig(rank=2, num_experts=3, top_k=4)


def test_router_that_could_not_learn_is_refused():
    with pytest.raises(ConfigError, match="cannot learn from the task; set normalize_top_k=False"):
        RoutedConfig(rank=2, num_experts=3, top_k=1, normalize_top_k=True)
    RoutedConfig(rank=2, num_experts=3, top_k=2, normalize_top_k=True)


@pytest.mark.parametrize("balance", [-0.1, math.inf, math.nan, "x"])
def test_balance_must_be_a_number_of_at_least_zero(balance: object):
    with pytest.raises(ConfigError, match="balance must be a number of at least 0"):
        build("perft-r", balance=balance)


@pytest.mark.parametrize("variant", ["lora-router", "lora-experts"])
def test_lora_on_weights_refuses_dropout(variant: str):
    with pytest.raises(ConfigError, match=f"{variant} has no dropout, found dropout=0.1; set 0"):
        build(variant, dropout=0.1)


@pytest.mark.parametrize("activation", ["swish", "Silu", "", None, 1])
def test_unknown_activation_is_refused(activation: object):
    with pytest.raises(ConfigError, match=r"unknown activation .*\(known: gelu, gelu_pytorch_tanh"):
        build("perft-s", form="parallel", activation=activation)


def test_activation_is_of_the_parallel_form_alone():
    assert build("perft-r", form="parallel", activation="gelu").activation == "gelu"
    with pytest.raises(ConfigError, match=r"has no activation, found activation='gelu'; leave"):
        build("perft-r", form="lora", activation="gelu")


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("all", (0, 1, 2, 3, 4, 5)),
        ("last:1", (5,)),
        ("last:6", (0, 1, 2, 3, 4, 5)),
        ("every:1", (0, 1, 2, 3, 4, 5)),
        ("every:4", (0, 4)),
        ("every:9", (0,)),
        ("3", (3,)),
        ("5,0,3,0", (0, 3, 5)),
    ],
)
def test_layers_are_all_the_last_every_k_th_or_a_list(layers: str, chosen: tuple[int, ...]):
    assert build("perft-s", layers=layers).chosen_layers(6) == chosen


@pytest.mark.parametrize("layers", ["last:7", "6", "0,1,17"])
def test_layers_that_the_base_lacks_are_refused(layers: str):
    with pytest.raises(AdapterError, match=r"does not fit this base: it has 6 layers .* 0 to 5"):
        build("perft-s", layers=layers).chosen_layers(6)


@pytest.mark.parametrize(
    "layers",
    [
        "",
        "none",
        "last",
        "last:0",
        "every:0",
        "last:-1",
        "-1",
        "1,",
        "0, 3",
        "1.5",
        "³",
        None,
        3,
        [0],
    ],
)
def test_layers_that_say_nothing_are_refused(layers: object):
    with pytest.raises(ConfigError, match=r'layers must be "all", "last:n", "every:k" or a list'):
        build("lora-qv", layers=layers)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "x", None])
def test_base_balance_must_be_a_number_of_at_least_zero(variant: str, value: object):
    with pytest.raises(ConfigError, match="base_balance must be a number of at least 0"):
        build(variant, base_balance=value)
