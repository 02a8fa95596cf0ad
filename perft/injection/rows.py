"""Which rows of a batch belong to which adapter, during one forward pass (and its backward).

Rows of one adapter are adjacent. The hooks read the current layout; activation checkpointing
re-enters the layout of the forward pass it recomputes.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums

Dropping = DropKey | Literal["torch"] | None
"""How a segment drops: by a key, by torch's own generator in training mode, or not at all."""


@dataclass(frozen=True)
class Segment:
    """Rows `start` to `stop` (exclusive) of the batch belong to the adapter `name`.

    Attributes:
        name: the adapter; None leaves the rows to the base alone.
        start: first row.
        stop: row after the last.
        drop: what the adapter's dropout masks depend on.
    """

    name: str | None
    start: int
    stop: int
    drop: Dropping = None


@dataclass(frozen=True)
class RowLayout:
    """The layout of one forward pass.

    Attributes:
        segments: they cover the batch's rows in order, without gaps.
        mask_BS: false where a token is padding; None counts every token.
        sums: filled by the hooks of routed adapters, by adapter; one entry per name, the layers
            added up.
        base_sums: the same of the base's routers, for the adapters with `base_balance`.
    """

    segments: tuple[Segment, ...]
    mask_BS: Tensor | None = None
    sums: dict[str, RouterSums] = field(default_factory=dict)
    base_sums: dict[str, RouterSums] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.segments[-1].stop

    @cached_property
    def names(self) -> frozenset[str]:
        """The adapters that have rows."""
        return frozenset(s.name for s in self.segments if s.name is not None)

    def split(self, value: Tensor) -> tuple[Tensor, ...]:
        """The part of each segment of what has the batch's rows first, or its tokens row by row.

        One operation for all segments: in the backward pass it joins their gradients, where each
        slice would fill a tensor of full size with zeros.
        """
        each = len(value) // self.rows
        return torch.split(value, [(s.stop - s.start) * each for s in self.segments])

    def mask_of(self, segment: Segment, length: int, device: torch.device) -> Tensor:
        """Which tokens of a segment count, row after row of `length` tokens."""
        if self.mask_BS is None:
            tokens = (segment.stop - segment.start) * length
            return torch.ones(tokens, dtype=torch.bool, device=device)
        return self.mask_BS[segment.start : segment.stop].flatten()

    def add_sums(self, name: str, sums: RouterSums) -> None:
        """Adds one layer's routing sums of the adapter `name`."""
        self.sums[name] = self.sums[name] + sums if name in self.sums else sums

    def add_base_sums(self, name: str, sums: RouterSums) -> None:
        """Adds one layer's routing sums of the base, for the rows of the adapter `name`."""
        self.base_sums[name] = self.base_sums[name] + sums if name in self.base_sums else sums

    def replay(self) -> "RowLayout":
        """The same rows with sums of their own: for a recomputed forward pass."""
        return dataclasses.replace(self, sums={}, base_sums={})


def rows_of(
    counts: Mapping[str | None, int],
    mask_BS: Tensor | None = None,
    drops: Mapping[str, Dropping] | None = None,
) -> RowLayout:
    """Lays out `counts[name]` rows for each adapter, in the order of the mapping."""
    segments: list[Segment] = []
    start = 0
    for name, count in counts.items():
        drop = drops.get(name) if drops and name is not None else None
        segments.append(Segment(name, start, start + count, drop))
        start += count
    return RowLayout(tuple(segments), mask_BS)
