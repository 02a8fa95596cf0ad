"""Rates and data positions against what a plain loop would do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.config import TrainingConfig
from perft.training.schedule import example_indices, learning_rate


def naive_rates(config: TrainingConfig) -> list[float]:
    rates, up, down = [], config.warmup_steps, config.max_steps - config.warmup_steps
    for done in range(config.max_steps):
        rising = (done + 1) / up if up else 1.0
        falling = (config.max_steps - done) / down
        rates.append(config.lr * (rising if done < up else falling))
    return rates


def naive_examples(config: TrainingConfig, steps: int, examples: int) -> list[list[int]]:
    """Shuffles epoch after epoch and cuts the stream into batches."""
    stream: list[int] = []
    epoch = 0
    while len(stream) < steps * config.batch_size:
        generator = np.random.Generator(np.random.Philox([config.seed, epoch]))
        stream += generator.permutation(examples).tolist()
        epoch += 1
    size = config.batch_size
    return [stream[step * size : (step + 1) * size] for step in range(steps)]


@given(max_steps=st.integers(1, 40), warmup=st.integers(0, 39), lr=st.floats(1e-6, 1.0))
def test_learning_rate_is_linear_up_then_linear_down(
    max_steps: int, warmup: int, lr: float
) -> None:
    config = TrainingConfig(lr=lr, max_steps=max_steps, warmup_steps=min(warmup, max_steps - 1))
    found = [learning_rate(config, step) for step in range(max_steps)]
    assert found == pytest.approx(naive_rates(config))
    assert max(found) == pytest.approx(lr)
    assert min(found) > 0


def test_learning_rate_has_its_peak_after_warm_up_and_ends_just_above_zero() -> None:
    config = TrainingConfig(lr=1.0, max_steps=10, warmup_steps=4)
    found = [learning_rate(config, step) for step in range(10)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


@given(
    examples=st.integers(1, 30),
    batch=st.integers(1, 40),
    seed=st.integers(0, 5),
    steps=st.integers(1, 8),
)
def test_examples_are_those_of_a_shuffled_stream(
    examples: int, batch: int, seed: int, steps: int
) -> None:
    config = TrainingConfig(lr=1.0, batch_size=batch, seed=seed)
    found = [example_indices(config, step, examples) for step in range(steps)]
    assert found == naive_examples(config, steps, examples)


@given(examples=st.integers(1, 30), batch=st.integers(1, 12))
def test_every_example_comes_once_per_epoch(examples: int, batch: int) -> None:
    config = TrainingConfig(lr=1.0, batch_size=batch)
    steps = 3 * examples // batch + 1
    stream = [i for step in range(steps) for i in example_indices(config, step, examples)]
    for epoch in range(len(stream) // examples):
        part = stream[epoch * examples : (epoch + 1) * examples]
        assert sorted(part) == list(range(examples))


def test_epochs_and_seeds_differ() -> None:
    def epoch(seed: int, step: int) -> list[int]:
        return example_indices(TrainingConfig(lr=1.0, batch_size=50, seed=seed), step, 50)

    assert epoch(0, 0) != epoch(0, 1)
    assert epoch(0, 0) != epoch(1, 0)
    assert epoch(0, 0) == epoch(0, 0)
