"""A frozen weight that is held in few bits and looks like the weight that it stands for.

Every operator that reads it gets its numbers, made for that operator alone. So each family's code,
hooks and perft's grouped products run unchanged, and shapes and counts are the weight's. Views (a
transpose, one expert) stay packed until they are read. Autograd keeps the tensors that operators
were given, thus the packed ones, and the backward pass makes the numbers again.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from perft.compat.torch import (
    TO_COPY,
    address_of,
    functions_as_they_are,
    is_view,
    make_wrapper,
    tree_map_only,
    writes,
)
from perft.errors import BaseModelError
from perft.models.formats import Packed, pack


class QuantisedWeight(Tensor):
    """A packed weight, or a view of it.

    Attributes:
        packed: the whole weight.
        outline: dtype, sizes and strides of this view of it, on the meta device.
    """

    packed: Packed
    outline: Tensor

    @staticmethod
    def __new__(cls, packed: Packed, outline: Tensor) -> "QuantisedWeight":
        """The view of a packed weight with an outline."""
        self = make_wrapper(cls, outline, packed.codes.device)
        self.packed, self.outline = packed, outline
        return self

    @classmethod
    def of(cls, weight: Tensor, precision: str, inputs: int = -1) -> "QuantisedWeight":
        """Quantises a weight.

        Args:
            weight: (O, I), or (E, O, I) of E experts.
            precision: a key of `perft.models.formats.FORMATS`.
            inputs: the dimension of its inputs, -1 or -2.
        """
        outline = torch.empty(weight.shape, dtype=weight.dtype, device="meta")
        return cls(pack(weight.contiguous(), precision, inputs), outline)

    @property
    def codes(self) -> Tensor:
        """The whole weight's codes."""
        return self.packed.codes

    @property
    def scales(self) -> Tensor:
        """What these are multiplied with."""
        return self.packed.scales

    def dequantise(self) -> Tensor:
        """The numbers of this view, with its dtype, sizes and strides."""
        needed, start = self._needed()
        numbers = needed.unpack().as_strided(self.outline.shape, self.outline.stride(), start)
        return numbers.to(self.dtype)

    def _needed(self) -> tuple[Packed, int]:
        """The part of the weight that this view reads, and where in it the view starts."""
        packed, start = self.packed, int(self.outline.storage_offset())
        if not packed.is_divisible or not self.outline.numel():
            return packed, start
        steps = zip(self.outline.shape, self.outline.stride(), strict=True)
        last = start + sum((size - 1) * stride for size, stride in steps)
        each = packed.shape[1:].numel()
        first = start // each
        return packed.part(slice(first, last // each + 1)), start - first * each

    def __repr__(self, **_: object) -> str:  # type: ignore[override]
        name = f"{self.packed.precision} weight"
        return f"<{name} {tuple(self.shape)}, {self.dtype}, on {self.device}>"

    def __tensor_flatten__(self) -> tuple[list[str], Packed]:
        """Names the tensors inside: `nn.Module.to` then replaces this one as a whole."""
        return ["codes", "scales", "outline"], self.packed

    @staticmethod
    def __tensor_unflatten__(
        inside: Mapping[str, Tensor], packed: Packed, *_: object
    ) -> "QuantisedWeight":
        """Inverts `__tensor_flatten__`."""
        packed = dataclasses.replace(packed, codes=inside["codes"], scales=inside["scales"])
        return QuantisedWeight(packed, inside["outline"])

    __torch_function__ = functions_as_they_are  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operator: on the packed weight if it is a view or a move, else on its numbers.

        Raises:
            BaseModelError: if it would change the weight.
        """
        named = kwargs or {}
        if is_view(func) and (views := _viewed(func, args, named)) is not None:
            return views
        if func is TO_COPY:
            return _moved(*args, **named)
        if writes(func):
            raise BaseModelError(
                "the weights of a quantised base are packed and cannot be changed; load the base "
                "without quantize to change them"
            )
        plain, others = tree_map_only(cls, cls.dequantise, (args, named))
        return func(*plain, **others)


def _viewed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The views that an operator makes of a packed weight; None if it makes something else."""
    weight = args[0]
    if not isinstance(weight, QuantisedWeight):
        return None
    found = func(weight.outline, *args[1:], **kwargs)
    outlines = [found] if isinstance(found, Tensor) else found
    if not all(_is_part(outline, weight.outline) for outline in outlines):
        return None
    views = [QuantisedWeight(weight.packed, outline) for outline in outlines]
    return views[0] if isinstance(found, Tensor) else views


def _is_part(view: Tensor, outline: Tensor) -> bool:
    first, second = (address_of(tensor.untyped_storage()) for tensor in (view, outline))
    return first == second and view.dtype == outline.dtype


def _moved(
    weight: QuantisedWeight,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    **_: object,
) -> QuantisedWeight:
    """The same, packed, on another device or seen in another dtype."""
    packed, outline = weight.packed, weight.outline
    if device is not None:
        packed = packed.to(device, non_blocking=non_blocking)
    if dtype is not None:
        whole = torch.empty(packed.shape, dtype=dtype, device="meta")
        outline = whole.as_strided(outline.shape, outline.stride(), outline.storage_offset())
    return QuantisedWeight(packed, outline)
