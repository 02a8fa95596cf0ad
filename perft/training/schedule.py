"""The examples and the learning rate of a step: pure functions of (configuration, step).

So a trial's step is its data position and its schedule, and nothing else has to be saved.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from perft.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Learning rate after `step` steps: linear warm-up, then linear decay to 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    return config.lr * (config.max_steps - step) / (config.max_steps - config.warmup_steps)


def example_indices(config: TrainingConfig, step: int, examples: int) -> list[int]:
    """Indices of the examples in the batch after `step` steps.

    Every epoch is a new permutation; a batch may span two epochs.

    Args:
        config: its seed and batch size.
        step: optimiser steps done.
        examples: size of the training split.
    """
    first = step * config.batch_size
    return [
        int(_permutation(config.seed, at // examples, examples)[at % examples])
        for at in range(first, first + config.batch_size)
    ]


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, examples: int) -> npt.NDArray[np.int64]:
    return np.random.Generator(np.random.Philox([seed, epoch])).permutation(examples)
