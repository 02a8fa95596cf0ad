"""How a weight becomes few bits, and numbers again: nf4, mxfp4, int8, fp8.

Each format keeps two tensors, codes and scales, whose first dimension is the weight's where that
can be, so that one expert is read alone. Scales of int8 and fp8 have the base's dtype, which holds
every code exactly: a number is rounded once, as code times scale.

Shapes: a weight (O, I) or of E experts (E, O, I), transposed (E, I, O).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from perft.models import mxfp4

BLOCK = 64
"""Numbers that share a scale of nf4."""

_AT_ONCE = 1 << 26  # numbers of a weight that are packed at a time, by way of fp32


@dataclass(frozen=True)
class Packed:
    """A weight in few bits.

    Attributes:
        precision: the format, a key of `FORMATS`.
        codes: its codes.
        scales: what they are multiplied with.
        shape: the weight's.
        dtype: the weight's, in which it is unpacked.
        inputs: the dimension of its inputs, -1 or -2.
    """

    precision: str
    codes: Tensor
    scales: Tensor
    shape: torch.Size
    dtype: torch.dtype
    inputs: int = -1

    @property
    def is_divisible(self) -> bool:
        """Whether a part of the first dimension can be unpacked alone."""
        if len(self.shape) == 2 and self.inputs == -2:  # the first dimension is the inputs'
            return False
        return len(self.codes) == len(self.scales) == self.shape[0]

    def part(self, which: slice) -> "Packed":
        """A part of the first dimension."""
        codes, scales = self.codes[which], self.scales[which]
        shape = torch.Size((len(codes), *self.shape[1:]))
        return dataclasses.replace(self, codes=codes, scales=scales, shape=shape)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Packed":
        """The same on a device."""
        codes, scales = (
            tensor.to(device, non_blocking=non_blocking) for tensor in (self.codes, self.scales)
        )
        return dataclasses.replace(self, codes=codes, scales=scales)

    def unpack(self) -> Tensor:
        """The numbers, contiguous."""
        return FORMATS[self.precision].unpack(self)


@dataclass(frozen=True)
class _Format:
    """Codes and scales of a weight, given its dimension of inputs; and the way back."""

    pack: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    unpack: Callable[[Packed], Tensor]


def pack(weight: Tensor, precision: str, inputs: int = -1) -> Packed:
    """Packs a weight, some experts at a time.

    Args:
        weight: contiguous, of two or three dimensions.
        precision: a key of `FORMATS`.
        inputs: the dimension of its inputs, -1 or -2.
    """
    some = len(weight) if weight.dim() == 2 else max(1, _AT_ONCE // weight[0].numel())
    parts = [FORMATS[precision].pack(part, inputs) for part in torch.split(weight, some)]
    codes, scales = (torch.cat(each) for each in zip(*parts, strict=True))
    return Packed(precision, codes, scales, weight.shape, weight.dtype, inputs)


def _pack_scaled(
    largest: float, code: torch.dtype, weight: Tensor, inputs: int
) -> tuple[Tensor, Tensor]:
    peak = weight.abs().amax(inputs, keepdim=True).float()
    scale = (peak / largest).clamp_min(torch.finfo(peak.dtype).tiny).to(weight.dtype)
    found = (weight.float() / scale.float()).clamp_(-largest, largest)
    return (found if code.is_floating_point else found.round_()).to(code), scale


def _unpack_scaled(packed: Packed) -> Tensor:
    return packed.codes.to(packed.dtype).mul_(packed.scales)


def _pack_nf4(weight: Tensor, _inputs: int) -> tuple[Tensor, Tensor]:
    """Codes, two in a byte, and a scale for each block: by expert, by row, or of the whole."""
    flat = weight.flatten(1) if weight.dim() == 3 else weight.view(1, -1)
    filled = pad(flat, (0, -flat.shape[1] % BLOCK))
    by_row = weight.dim() == 2 and weight.shape[1] % BLOCK == 0
    codes, state = _bitsandbytes().quantize_4bit(
        filled.to(_nf4_dtype(filled.dtype)), blocksize=BLOCK, quant_type="nf4"
    )
    lead = len(weight) if by_row else len(flat)
    return codes.view(lead, -1), state.absmax.view(lead, -1)


def _unpack_nf4(packed: Packed) -> Tensor:
    shape, library = packed.shape, _bitsandbytes()
    lead = shape[0] if len(shape) == 3 else 1
    state = library.QuantState(
        absmax=packed.scales.flatten(),
        shape=torch.Size((lead, BLOCK * packed.scales.numel() // lead)),
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=_nf4_dtype(packed.dtype),
    )
    filled: Tensor = library.dequantize_4bit(packed.codes.reshape(-1, 1), state)
    return filled[:, : prod(shape) // lead].reshape(shape).contiguous().to(packed.dtype)


def _nf4_dtype(dtype: torch.dtype) -> torch.dtype:
    """What bitsandbytes computes with: it has no fp64."""
    return torch.float32 if dtype == torch.float64 else dtype


def _pack_mxfp4(weight: Tensor, inputs: int) -> tuple[Tensor, Tensor]:
    """Codes and scales of blocks along the inputs, which come last."""
    return mxfp4.pack(weight.transpose(inputs, -1).contiguous())


def _unpack_mxfp4(packed: Packed) -> Tensor:
    last = packed.shape[packed.inputs]
    numbers = mxfp4.unpack(packed.codes, packed.scales, last, packed.dtype)
    return numbers.transpose(packed.inputs, -1).contiguous()


def _bitsandbytes() -> Any:
    import bitsandbytes.functional  # noqa: PLC0415 - takes seconds, and is needed by nf4 alone

    return bitsandbytes.functional


FORMATS: Mapping[str, _Format] = {
    "nf4": _Format(_pack_nf4, _unpack_nf4),
    "mxfp4": _Format(_pack_mxfp4, _unpack_mxfp4),
    "int8": _Format(partial(_pack_scaled, 127.0, torch.int8), _unpack_scaled),
    "fp8": _Format(
        partial(_pack_scaled, torch.finfo(torch.float8_e4m3fn).max, torch.float8_e4m3fn),
        _unpack_scaled,
    ),
}
"""By name; `perft.models.precision` says what they are."""
