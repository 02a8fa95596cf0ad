"""Configurations go through flat JSON and come back; what is not understood is refused."""

import json

import pytest
from building import adapters, build
from hypothesis import given
from hypothesis import strategies as st

from perft.config import (
    VARIANTS,
    AdapterConfig,
    SingleConfig,
    TrainingConfig,
    adapter_from_flat,
    fields_of,
    training_from_flat,
)
from perft.errors import ConfigError, PerftError


@given(adapters())
def test_adapter_survives_the_way_through_flat_json(config: AdapterConfig):
    flat = json.loads(json.dumps(config.to_flat()))
    assert next(iter(flat)) == "variant"
    assert not any(isinstance(value, dict | list) for value in flat.values())
    again = adapter_from_flat(flat)
    assert again == config
    assert type(again) is type(config)


@given(
    lr=st.floats(1e-8, 1),
    steps=st.integers(2, 10_000),
    loss_on=st.sampled_from(["answer", "all"]),
    seed=st.integers(0, 2**31),
)
def test_training_survives_the_way_through_flat_json(lr, steps, loss_on, seed):
    config = TrainingConfig(
        lr=lr, max_steps=steps, warmup_steps=steps // 2, loss_on=loss_on, seed=seed
    )
    assert training_from_flat(json.loads(json.dumps(config.to_flat()))) == config


def test_unknown_variant_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(ConfigError, match="unknown variant 'perft-q'; did you mean 'perft-") as e:
        adapter_from_flat({"variant": "perft-q", "rank": 4})
    assert all(name in str(e.value) for name in VARIANTS)
    with pytest.raises(ConfigError, match="unknown variant"):
        fields_of("perft-q")


@pytest.mark.parametrize("flat", [{}, {"variant": None}, {"variant": 3}])
def test_configuration_without_a_variant_is_refused(flat: dict[str, object]):
    with pytest.raises(ConfigError, match="unknown variant"):
        adapter_from_flat({**flat, "rank": 4})


def test_unknown_setting_is_refused_with_the_variant_and_the_nearest_name():
    with pytest.raises(
        ConfigError, match="variant perft-s: unknown setting 'rnk'; did you mean 'rank'"
    ):
        adapter_from_flat({"variant": "perft-s", "rnk": 4})
    with pytest.raises(ConfigError, match="training: unknown setting 'batchsize'; did you mean 'b"):
        training_from_flat({"lr": 1e-3, "batchsize": 4})


def test_setting_of_another_variant_is_unknown():
    with pytest.raises(ConfigError, match="variant perft-s: unknown setting 'top_k'"):
        adapter_from_flat({"variant": "perft-s", "rank": 4, "top_k": 1})


def test_missing_settings_are_all_named():
    with pytest.raises(ConfigError, match="variant perft-r needs rank, num_experts, top_k"):
        adapter_from_flat({"variant": "perft-r"})
    with pytest.raises(ConfigError, match="training needs lr"):
        training_from_flat({})


@pytest.mark.parametrize("variant", VARIANTS)
def test_fields_of_a_variant_are_those_it_can_be_built_from(variant: str):
    assert fields_of(variant) == set(build(variant).to_flat()) - {"variant"}


def test_bad_settings_can_be_caught_as_perft_s_and_as_python_s_errors():
    for kind in (PerftError, ValueError):
        with pytest.raises(kind):
            SingleConfig(rank=0)


def test_what_an_earlier_version_wrote_is_supervised_fine_tuning() -> None:
    flat = TrainingConfig(lr=1e-3).to_flat()
    for name in ("objective", "beta"):
        del flat[name]
    assert training_from_flat(flat) == TrainingConfig(lr=1e-3, objective="sft")
