"""Weights in MXFP4: blocks of 32 numbers along the inputs, with a power of two as their scale.

(OCP Microscaling Formats 1.0.) A number is sign and one of eight magnitudes; gpt-oss stores its
experts so, and they come back to the bit.

Shapes: a weight (..., I), B = ceil(I / 32) blocks.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad

BLOCK = 32
"""Numbers that share a scale."""
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""By the lower three bits of a code; the fourth is the sign."""
BIAS = 127
"""A scale is two to the power of its byte minus this."""

_MIDDLES = tuple((low + high) / 2 for low, high in pairwise(MAGNITUDES))


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds to the nearest numbers of each block's scale.

    Args:
        weight: (..., I).

    Returns:
        Codes (..., 16 B), two in a byte, the first in its lower half, and scales (..., B) as bytes.
    """
    filled = pad(weight.float(), (0, -weight.shape[-1] % BLOCK))
    blocks = filled.reshape(*weight.shape[:-1], -1, BLOCK)
    # The smallest power with which no number of the block is beyond the largest magnitude.
    peak = blocks.abs().amax(-1).clamp_min(torch.finfo(torch.float32).tiny)
    power = (peak / MAGNITUDES[-1]).log2().ceil().clamp(-126, 127)
    scaled = blocks * torch.exp2(-power).unsqueeze(-1)
    middles = torch.tensor(_MIDDLES, device=weight.device)
    found = torch.bucketize(scaled.abs(), middles, out_int32=True).to(torch.uint8)
    codes = (found | (scaled < 0).to(torch.uint8) << 3).flatten(-2)
    return codes[..., ::2] | codes[..., 1::2] << 4, (power + BIAS).to(torch.uint8)


def unpack(codes: Tensor, scales: Tensor, inputs: int, dtype: torch.dtype) -> Tensor:
    """The numbers (..., I) of codes and scales, exact in every dtype but fp16.

    Args:
        codes: (..., 16 B).
        scales: (..., B).
        inputs: I.
        dtype: of the result.
    """
    numbers = embedding(codes.int(), _pairs(dtype, codes.device)).flatten(-2)
    power = torch.exp2(scales.to(torch.float32) - BIAS).to(dtype)
    numbers.view(*scales.shape, BLOCK).mul_(power.unsqueeze(-1))
    return numbers[..., :inputs]


def _pairs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """By the byte, its two numbers."""
    signed = torch.tensor([*MAGNITUDES, *(-each for each in MAGNITUDES)], dtype=dtype)
    low, high = signed.repeat(16), signed.repeat_interleave(16)
    return torch.stack((low, high), -1).to(device)
