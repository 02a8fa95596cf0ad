"""Settings of the training that make no sense are refused before anything starts."""

import math

import pytest

from perft.config import (
    TrainingConfig,
)
from perft.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"lr": math.nan}, "lr must be a positive number"),
        ({"lr": "1e-3"}, "lr must be a positive number"),
        ({"clip_norm": -1.0}, "clip_norm must be a positive number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"max_steps": 10.0}, "max_steps must be a whole number"),
        ({"max_length": 0}, "max_length must be a whole number"),
        (
            {"warmup_steps": 200},
            r"warmup_steps must be .*found warmup_steps=200 with max_steps=200",
        ),
        ({"warmup_steps": -1}, "warmup_steps must be"),
        ({"warmup_steps": 1.5}, "warmup_steps must be"),
        ({"weight_decay": -0.1}, "weight_decay must be"),
        ({"weight_decay": math.inf}, "weight_decay must be"),
        ({"loss_on": "anser"}, "unknown loss_on 'anser'; did you mean 'answer'"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 0.5}, "seed must be"),
    ],
)
def test_training_setting_out_of_range_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**{"lr": 1e-3, **settings})
