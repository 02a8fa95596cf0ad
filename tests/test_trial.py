"""What crosses a process about a trial comes back as it was."""

import dataclasses
import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.config import VARIANTS, RoutedConfig, SingleConfig, TrainingConfig, fields_of
from perft.errors import ConfigError
from perft.trial import AdapterSize, Report, TrialConfig, TrialResult

CONFIG = TrialConfig(
    RoutedConfig(rank=4, num_experts=4, top_k=2, alpha=3.0), TrainingConfig(lr=1e-3, max_steps=50)
)
REPORT = Report(
    step=50,
    train_loss=1.5,
    val_loss=1.25,
    correct=3,
    scored=8,
    lr=1e-4,
    tokens_per_second=123.5,
    router_load=(0.25, 0.75),
    router_entropy=0.5,
)


def through_json(value: object) -> object:
    return json.loads(json.dumps(value))


def test_trial_configuration_survives_the_way_through_flat_json():
    flat = through_json(CONFIG.to_flat())
    assert TrialConfig.from_flat(flat) == CONFIG
    assert flat["variant"] == "perft-r"
    assert flat["lr"] == 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapter_and_training_settings_share_no_name(variant: str):
    assert not fields_of(variant) & set(TrainingConfig(lr=1.0).to_flat())


def test_unknown_setting_of_a_trial_is_refused():
    with pytest.raises(ConfigError, match="unknown setting 'learning_rate'"):
        TrialConfig.from_flat({**CONFIG.to_flat(), "learning_rate": 1.0})


def test_missing_training_setting_of_a_trial_is_refused():
    flat = CONFIG.to_flat()
    del flat["lr"]
    with pytest.raises(ConfigError, match="training needs lr"):
        TrialConfig.from_flat(flat)


@given(
    step=st.integers(1, 2**31 - 1),
    losses=st.tuples(*[st.floats(allow_nan=False).filter(lambda loss: loss > -math.inf)] * 2),
    load=st.lists(st.floats(0, 1)).map(tuple),
    entropy=st.none() | st.floats(0, 5),
)
def test_report_survives_the_way_through_json(step, losses, load, entropy):
    report = Report(
        step=step,
        train_loss=losses[0],
        val_loss=losses[1],
        correct=0,
        scored=0,
        lr=0.1,
        tokens_per_second=1.0,
        router_load=load,
        router_entropy=entropy,
    )
    assert Report.from_json(through_json(report.to_json())) == report


def test_accuracy_is_the_share_of_scored_examples_and_zero_without_any():
    assert REPORT.accuracy == 3 / 8
    nothing = Report.from_json({**REPORT.to_json(), "correct": 0, "scored": 0})
    assert nothing.accuracy == 0.0


@pytest.mark.parametrize(
    "result",
    [
        TrialResult(
            number=7,
            config=CONFIG,
            outcome="complete",
            reports=(dataclasses.replace(REPORT, step=10), REPORT),
            size=AdapterSize(trainable=10, activated=5, base_activated=1000),
            run_id="abc",
        ),
        TrialResult(number=0, config=CONFIG, outcome="failed", error="the loss is not finite"),
    ],
    ids=["complete", "failed before its first report"],
)
def test_result_survives_the_way_through_json_and_pickle(result: TrialResult):
    assert TrialResult.from_json(through_json(result.to_json())) == result
    assert pickle.loads(pickle.dumps(result)) == result


def test_last_report_is_the_newest_or_none():
    first = Report.from_json({**REPORT.to_json(), "step": 10})
    assert (
        TrialResult(number=0, config=CONFIG, outcome="pruned", reports=(first, REPORT)).last
        == REPORT
    )
    assert TrialResult(number=0, config=CONFIG, outcome="failed").last is None


def test_percentages_are_over_the_base_s_activated_parameters():
    size = AdapterSize(trainable=30, activated=10, base_activated=2000)
    assert size.trainable_percent == 1.5
    assert size.activated_percent == 0.5


def test_trials_of_different_adapters_differ():
    assert TrialConfig(SingleConfig(rank=4), CONFIG.training) != CONFIG


def test_a_report_of_an_earlier_version_has_no_measures_of_an_objective() -> None:
    report = Report(
        step=1, train_loss=1.0, val_loss=1.0, correct=0, scored=0, lr=0.1, tokens_per_second=1.0
    )
    flat = report.to_json()
    del flat["measures"]
    assert Report.from_json(flat) == report
    assert Report.from_json({**flat, "measures": {"margin": 0.5}}).measures == {"margin": 0.5}
    with pytest.raises(ConfigError, match="measures must be named by identifiers, found 'a b'"):
        Report.from_json({**flat, "measures": {"a b": 0.5}})
