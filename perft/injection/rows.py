"""Which rows of a batch belong to which adapter, during one forward pass (and its backward).

Rows of one adapter are adjacent. The hooks read the current layout; activation checkpointing
re-enters the layout of the forward pass it recomputes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import LayerRouting, RouterSums, sum_router

Dropping = DropKey | Literal["torch"] | None
"""A segment's dropout: by a key, by torch's generator in training mode, or none."""


@dataclass(frozen=True)
class Segment:
    """Rows `start` to `stop` (exclusive) of the batch belong to the adapter `name`.

    Attributes:
        name: the adapter; None leaves the rows to the base alone.
        start: first row.
        stop: row after the last.
        drop: the adapter's dropout.
    """

    name: str | None
    start: int
    stop: int
    drop: Dropping = None


@dataclass(frozen=True)
class BatchLayout:
    """The layout of one forward pass.

    Attributes:
        segments: they cover the batch's rows in order, without gaps.
        mask_BS: false where a token is padding; None counts every token.
        routing: by adapter, the PEFT routers' routing, layer after layer; kept by hooks if there
            are gradients. Scores are probabilities.
        base_routing: the same of the base's routers, for adapters with `base_balance`. Scores are
            logits.
    """

    segments: tuple[Segment, ...]
    mask_BS: Tensor | None = None
    routing: dict[str, list[LayerRouting]] = field(default_factory=dict)
    base_routing: dict[str, list[LayerRouting]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.segments[-1].stop

    @cached_property
    def names(self) -> frozenset[str]:
        """The adapters that have rows."""
        return frozenset(s.name for s in self.segments if s.name is not None)

    def split(self, value: Tensor) -> tuple[Tensor, ...]:
        """Splits a tensor into segments, by the batch's rows or its tokens row by row.

        One operation for all segments: its backward pass joins their gradients, where each slice
        would fill a full-size tensor with zeros.
        """
        each = len(value) // self.rows
        found: tuple[Tensor, ...] = value.split_with_sizes(
            [(s.stop - s.start) * each for s in self.segments]
        )
        return found

    def keep_routing(self, name: str, layer: LayerRouting) -> None:
        """Keeps one layer's routing by the adapter `name`."""
        self.routing.setdefault(name, []).append(layer)

    def keep_base_routing(self, name: str, layer: LayerRouting) -> None:
        """Keeps one layer's routing by the base for the rows of the adapter `name`."""
        self.base_routing.setdefault(name, []).append(layer)

    @property
    def sums(self) -> dict[str, RouterSums]:
        """Routing sums of the adapters that have a PEFT router, over the layers."""
        return {
            name: sum_router(*_stacked(layers), self._mask_of(name))
            for name, layers in self.routing.items()
        }

    @property
    def base_sums(self) -> dict[str, RouterSums]:
        """Routing sums of the base, for the adapters with `base_balance`, over the layers."""
        found = {}
        for name, layers in self.base_routing.items():
            logits_LTE, index_LTK = _stacked(layers)
            wide = torch.promote_types(logits_LTE.dtype, torch.float32)
            prob_LTE = logits_LTE.to(wide).softmax(-1)
            found[name] = sum_router(prob_LTE, index_LTK, self._mask_of(name))
        return found

    def _mask_of(self, name: str) -> Tensor | None:
        """Which tokens of an adapter count, row after row."""
        if self.mask_BS is None:
            return None
        (segment,) = (s for s in self.segments if s.name == name)
        return self.mask_BS[segment.start : segment.stop].flatten()

    def replay(self) -> "BatchLayout":
        """The same rows without kept routing, for a recomputed forward pass."""
        return dataclasses.replace(self, routing={}, base_routing={})


def rows_of(
    counts: Mapping[str | None, int],
    mask_BS: Tensor | None = None,
    drops: Mapping[str, Dropping] | None = None,
) -> BatchLayout:
    """Lays out `counts[name]` rows for each adapter, in the order of the mapping."""
    segments: list[Segment] = []
    start = 0
    for name, count in counts.items():
        drop = drops.get(name) if drops and name is not None else None
        segments.append(Segment(name, start, start + count, drop))
        start += count
    return BatchLayout(tuple(segments), mask_BS)


def add_rows(layout: BatchLayout, y_BSO: Tensor, parts: Mapping[int, Tensor]) -> Tensor:
    """Adds parts to the rows of their segments and leaves the other rows as they are.

    Neighbours are added in one operation, all of them where every segment has a part.
    """
    runs = [list(run) for _, run in groupby(range(len(layout.segments)), parts.__contains__)]
    each = len(y_BSO) // layout.rows
    bounds = [(layout.segments[run[0]].start, layout.segments[run[-1]].stop) for run in runs]
    pieces = y_BSO.split_with_sizes([(stop - start) * each for start, stop in bounds])
    return joined(
        [
            y + joined([parts[i].to(y.dtype) for i in run]) if run[0] in parts else y
            for run, y in zip(runs, pieces, strict=True)
        ]
    )


def replace_rows(layout: BatchLayout, y_BSO: Tensor, parts: Mapping[int, Tensor]) -> Tensor:
    """Puts parts in place of the rows of their segments, without writing into `y_BSO`."""
    rows = layout.split(y_BSO)
    return joined([parts[i].to(y.dtype) if i in parts else y for i, y in enumerate(rows)])


def joined(pieces: Sequence[Tensor]) -> Tensor:
    """Concatenates pieces; a single one is not copied."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))


def _stacked(layers: Sequence[LayerRouting]) -> tuple[Tensor, Tensor]:
    """Scores (L, T, M) and choices (L, T, K)."""
    scores, indices = ([layer.score_TM for layer in layers], [layer.index_TK for layer in layers])
    return torch.stack(scores), torch.stack(indices)
