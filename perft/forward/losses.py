"""One forward pass through the base for the rows of many adapters, and each adapter's loss.

An adapter's rows may go through the base a second time in the same pass, without the adapter: the
losses of the base alone are its reference. Rows that several adapters share go there once, unless
the batch has a fixed shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums
from perft.compat.transformers import without_packed_rows
from perft.forward.batch import BatchShape, TokenBatch, TokenizedExample, collate, distinct
from perft.injection import AdapterHost, BatchLayout, rows_of
from perft.models.head import has_plain_head, token_choices, token_losses

Found = TypeVar("Found")


@dataclass(frozen=True)
class AdapterBatch:
    """One adapter's rows of a batch.

    Attributes:
        rows: token rows, at least one.
        drop: the key of its dropout masks, on the CPU; None switches dropout off.
        referenced: whether the rows also go through the base without the adapter.
    """

    rows: Sequence[TokenizedExample]
    drop: DropKey | None = None
    referenced: bool = False


@dataclass(frozen=True)
class AdapterLosses:
    """Cross-entropies of one adapter's rows, nats, fp32 or wider: the input of its objective.

    Attributes:
        total: returns the sum over all predicted tokens.
        rows: returns the sum of each row, shape (R,): an answer's negative log-likelihood.
        reference: returns the same sums without the adapter, and without gradient.
    """

    total: Callable[[], Tensor]
    rows: Callable[[], Tensor]
    reference: Callable[[], Tensor]

    @classmethod
    def of(cls, own_R: Tensor, reference_R: Tensor) -> "AdapterLosses":
        """From known sums of rows."""
        return cls(own_R.sum, lambda: own_R, lambda: reference_R)


@dataclass(frozen=True)
class PackBatch:
    """The rows of many adapters, ready to go through the base.

    Attributes:
        names: the adapters.
        batch: their rows.
        layout: assigns the rows to adapters.
        reference: by referenced adapter, the indices in `TokenBatch.row_sums` of its rows without
            the adapter.
    """

    names: tuple[str, ...]
    batch: TokenBatch
    layout: BatchLayout
    reference: Mapping[str, slice | list[int]]

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch on the device."""
        batch = self.batch
        drops = [s.drop.seed_b for s in self.layout.segments if isinstance(s.drop, DropKey)]
        found = (batch.ids_BS, batch.mask_BS, batch.position_N, batch.label_N, batch.is_real_N)
        return [*found, *drops]

    @torch.no_grad()
    def refill(self, other: "PackBatch") -> None:
        """Copies the rows of a batch of the same adapters and shape into this batch's tensors."""
        assert (self.names, self.batch.shape) == (other.names, other.batch.shape)
        for mine, its in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(its)


@dataclass(frozen=True)
class PackLosses:
    """The losses of each adapter in one forward pass.

    Attributes:
        made: the rows that went through the base.
        loss_N: the cross-entropy of each predicted token, nats, fp32 or wider.
        sums: routing sums of the adapters that have a PEFT router, over all MoE layers.
        base_sums: routing sums of the base, for the adapters with `base_balance`.
    """

    made: PackBatch
    loss_N: Tensor
    sums: dict[str, RouterSums]
    base_sums: dict[str, RouterSums]

    @cached_property
    def loss(self) -> dict[str, Tensor]:
        """Sum of the cross-entropies of an adapter's predicted tokens."""
        return dict(zip(self.made.names, self.made.batch.totals(self.loss_N), strict=False))

    def of(self, name: str) -> AdapterLosses:
        """One adapter's losses, each computed on demand."""
        made, part = self.made, self.made.names.index(name)
        return AdapterLosses(
            lambda: self.loss[name],
            lambda: self._row_sums[made.batch.row_numbers(part)],
            lambda: self._row_sums.detach()[made.reference[name]],
        )

    @cached_property
    def _row_sums(self) -> Tensor:
        return self.made.batch.row_sums(self.loss_N)


def pack_batch(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch], shape: BatchShape | None = None
) -> PackBatch:
    """Collates the rows of many adapters into one batch on the base's device.

    Args:
        host: the base with the adapters on it.
        pad: token id of padding.
        parts: the rows of each adapter.
        shape: the shape to fill up to; None for no filling.
    """
    device = host.model.device
    referenced = {name: part.rows for name, part in parts.items() if part.referenced}
    batch, found = _collated([part.rows for part in parts.values()], referenced, pad, device, shape)
    counts: dict[str | None, int] = {name: len(part.rows) for name, part in parts.items()}
    if without := len(batch.ids_BS) - sum(counts.values()):
        counts[None] = without
    layout = rows_of(counts, batch.mask_BS, _drops(parts, device))
    return PackBatch(tuple(parts), batch, layout, found)


def _collated(
    own: Sequence[Sequence[TokenizedExample]],
    referenced: Mapping[str, Sequence[TokenizedExample]],
    pad: int,
    device: torch.device,
    shape: BatchShape | None,
) -> tuple[TokenBatch, dict[str, slice | list[int]]]:
    """A batch of adapters' rows, then reference rows; and by adapter, where the latter are."""
    if not referenced:
        return collate(own, pad, device, shape), {}
    if shape is None:
        alone, numbers = distinct(referenced.values())
        batch = collate([*own, alone], pad, device)
        first = batch.row_numbers(len(own)).start
        indices = ([first + number for number in mine] for mine in numbers)
        return batch, dict(zip(referenced, indices, strict=True))
    places = [*own, *[[]] * (shape.adapters - len(own)), *referenced.values()]
    batch = collate(places, pad, device, shape)
    slices = map(batch.row_numbers, range(shape.adapters, len(places)))
    return batch, dict(zip(referenced, slices, strict=True))


def losses_of(host: AdapterHost, made: PackBatch) -> PackLosses:
    """Runs the base once over a batch; every row has its own adapter only."""
    loss_N, layout = _run(host, made, token_losses)
    return PackLosses(made, loss_N, layout.sums, layout.base_sums)


def pack_losses(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch], shape: BatchShape | None = None
) -> PackLosses:
    """`losses_of` the batch of `pack_batch`."""
    return losses_of(host, pack_batch(host, pad, parts, shape))


def row_losses(host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch]) -> dict[str, Tensor]:
    """Like `pack_losses`, but the sum of each row: by adapter, (rows,), nats, fp64."""
    made = pack_batch(host, pad, parts)
    loss_N, _ = _run(host, made, token_losses)
    return {
        name: torch.stack([loss.double().sum() for loss in losses])
        for name, losses in zip(parts, made.batch.by_row(loss_N), strict=False)
    }


def base_loss(host: AdapterHost, pad: int, rows: Sequence[TokenizedExample]) -> Tensor:
    """The sum of the cross-entropies of rows in the base alone, nats; a scalar of fp32 or wider."""
    batch = collate([rows], pad, host.model.device)
    made = PackBatch((), batch, rows_of({None: len(rows)}, batch.mask_BS), {})
    loss_N, _ = _run(host, made, token_losses)
    return batch.totals(loss_N)[0]


def pack_choices(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch], shape: BatchShape | None = None
) -> tuple[PackLosses, dict[str, tuple[Tensor, ...]]]:
    """Like `pack_losses`, without gradient, and with the adapters' most likely tokens.

    Returns:
        The losses; and by adapter, for each of its rows, the most likely token at every predicted
        position, on the CPU.
    """
    made = pack_batch(host, pad, parts, shape)
    (loss_N, token_N), layout = _run(host, made, token_choices)
    tokens = dict(zip(parts, made.batch.by_row(token_N.cpu()), strict=False))
    return PackLosses(made, loss_N, layout.sums, layout.base_sums), tokens


def _run(host: AdapterHost, made: PackBatch, of: Callable[..., Found]) -> tuple[Found, BatchLayout]:
    """The result of `of` at every predicted token, and the layout with the pass's routing."""
    batch, layout = made.batch, made.layout.replay()
    plain = has_plain_head(host.model)
    with host.using(layout), without_packed_rows():
        found = of(host.model, batch.ids_BS, batch.position_N, batch.label_N, plain=plain)
    return found, layout


def _drops(parts: Mapping[str, AdapterBatch], device: torch.device) -> dict[str, DropKey]:
    """The keys of the adapters that drop, on the device: views of one tensor, copied once."""
    seeds = {name: part.drop.seed_b for name, part in parts.items() if part.drop is not None}
    if not seeds:
        return {}
    rows = [len(seed_b) for seed_b in seeds.values()]
    each = torch.split(torch.cat(list(seeds.values())).to(device), rows)
    return {name: DropKey(seed_b) for name, seed_b in zip(seeds, each, strict=True)}
