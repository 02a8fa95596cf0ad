"""Dropout whose mask is a pure function of (seed, step, row, place, token, unit).

So a trial drops the same units alone and in any pack, padded to any length, on any number of ranks,
with and without activation checkpointing, on a CPU and on a GPU. There is no generator and no
state: the host mixes (seed, step, row) into one number per row, and the rest is integer arithmetic
on the device, which can be compiled, and captured in a CUDA graph.

Each row has at each place a stream of 32-bit numbers, as in SplitMix (Steele, Lea and Flood, 2014,
doi 10.1145/2660193.2660195): mix(start + n gamma), with a start and an odd gamma of its own. The
mixer is lowbias32 (Wellons, github.com/skeeto/hash-prospector), with arithmetic shifts, which
int32 has on every device and which keep it invertible, and without its last shift, since only the
upper bits decide.

Shapes: b rows, S tokens per row, T = b S, D units, N = S D numbers per row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - 2**32)  # of lowbias32, as int32
_MASK = 2**64 - 1
_GAMMA_IS_ODD = 1 << 32


@dataclass(frozen=True, eq=False)
class DropKey:
    """The key of the dropout masks of one trial's rows in one step.

    Attributes:
        seed_b: int64, one number per row, on the device of the base.
    """

    seed_b: Tensor

    @classmethod
    def of(cls, seed: int, step: int, rows: slice) -> "DropKey":
        """The key, on the CPU, of some rows of a trial's batch.

        Args:
            seed: the trial's.
            step: its optimiser step.
            rows: which rows of the batch, over all processes.
        """
        # The numbers of earlier rows do not depend on later rows.
        mixed = np.random.SeedSequence((seed, step)).generate_state(rows.stop, np.uint64)
        return cls(torch.from_numpy((mixed[rows] | np.uint64(_GAMMA_IS_ODD)).view(np.int64)))


@dataclass(frozen=True, eq=False)
class KeyedZeros:
    """Zeroes elements chosen by a key.

    Attributes:
        seed_b: the key's numbers.
        place: number of the place (layer and use) in the model, spread over int64.
        threshold: an int32; elements with lower draws are dropped.
        heads: number of heads, which split each token's units.
    """

    seed_b: Tensor
    place: int | Tensor
    threshold: int | Tensor
    heads: int = 1

    def __call__(self, x_TD: Tensor) -> Tensor:
        """Zeroes elements of the tokens of the key's rows.

        Args:
            x_TD: rows of equal length, one after the other; in each row, one head after the other.
        """
        if not len(x_TD):
            return x_TD
        length = len(x_TD) // (len(self.seed_b) * self.heads)
        counter_N = _counter(length, self.heads, x_TD.shape[-1], x_TD.device)
        keep_bN = _draw(self.seed_b ^ self.place, counter_N) >= self.threshold
        return x_TD * keep_bN.view(x_TD.shape).to(x_TD.dtype)


@dataclass(frozen=True, eq=False)
class Drop:
    """Dropout of one adapter at one place.

    Attributes:
        zero: zeroes elements of its input.
        gain: the factor for the kept elements. It is applied to the weights, which are far fewer
            and more precise.
    """

    zero: Callable[[Tensor], Tensor]
    gain: float = 1.0


def _same(x_TD: Tensor) -> Tensor:
    return x_TD


NO_DROP = Drop(_same)


def keyed_drop(key: DropKey, place: int, probability: float, heads: int = 1) -> Drop:
    """Dropout with a key: zeroes with `probability`, with a gain of 1 / (1 - probability).

    Args:
        key: the trial, step and rows.
        place: number of the place in the model.
        probability: in [0, 1).
        heads: number of heads, which split each token's units.
    """
    if probability == 0.0:
        return NO_DROP
    threshold = min(round(probability * 2**32), 2**32 - 1) - 2**31
    zeros = KeyedZeros(key.seed_b, _mix64(place), threshold, heads)
    return Drop(zeros, 1.0 / (1.0 - probability))


def _counter(length: int, heads: int, width: int, device: torch.device) -> Tensor:
    """The number of each element in its row, token by token, so that padding shifts none."""
    counter_N = torch.arange(length * heads * width, dtype=torch.int32, device=device)
    if heads == 1:
        return counter_N
    return counter_N.view(length, heads, width).transpose(0, 1).flatten()


def _draw(stream_b: Tensor, counter_N: Tensor) -> Tensor:
    """Uniform int32 draws, (b, N)."""
    # The lower 32 bits are the start, the upper 32 gamma.
    start_b1, gamma_b1 = stream_b.view(torch.int32).view(-1, 1, 2).unbind(-1)
    draw_bN = torch.addcmul(start_b1, counter_N, gamma_b1)
    # In place: no gradient flows here, and on a CPU it saves a third of the time.
    for shift, multiplier in zip((16, 15), _MULTIPLIERS, strict=True):
        draw_bN.bitwise_xor_(draw_bN >> shift).mul_(multiplier)
    return draw_bN


@cache
def _mix64(number: int) -> int:
    """Spreads small numbers over int64 by the finaliser of SplitMix64, and leaves gamma odd."""
    z = (number + 1) * 0x9E3779B97F4A7C15 & _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    z = (z ^ z >> 31) & ~_GAMMA_IS_ODD
    return z - 2**64 if z >= 2**63 else z
