"""Dropout whose mask is a function of (trial seed, step, place, row), and of nothing else.

So a trial drops the same units alone and in any pack, on one rank and on several, with and
without activation checkpointing, and there is no generator state to save and restore.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class DropKey:
    """What one trial's dropout masks of one step depend on.

    Attributes:
        seed: the trial's seed.
        step: its optimiser step.
        rows: which rows of the trial's batch this process holds.
        batch_size: rows of the trial's batch over all processes.
        max_length: longest row there can be, tokens.
    """

    seed: int
    step: int
    rows: slice
    batch_size: int
    max_length: int


def dropped(x_TD: Tensor, key: DropKey, place: int, probability: float, length: int) -> Tensor:
    """Zeroes each element with `probability` and scales the others by 1 / (1 - probability).

    Args:
        x_TD: tokens of `key.rows`, row after row, each `length` tokens long.
        key: the trial and step.
        place: number of the place (layer and use) in the model.
        probability: in [0, 1).
        length: padded tokens per row.
    """
    if probability == 0.0:
        return x_TD
    seed = np.random.SeedSequence((key.seed, key.step, place)).generate_state(1, np.uint64)[0]
    generator = torch.Generator(x_TD.device).manual_seed(int(seed >> np.uint64(1)))
    # The whole batch is drawn at full length, so that neither padding nor ranks shift the draw.
    shape = (key.batch_size, key.max_length, x_TD.shape[-1])
    draw = torch.rand(shape, generator=generator, device=x_TD.device)[key.rows]
    draw = functional.pad(draw, (0, 0, 0, length - key.max_length), value=1.0)  # crops or extends
    keep_TD = (draw >= probability).flatten(0, 1).to(x_TD.dtype)
    return x_TD * keep_TD / (1.0 - probability)
