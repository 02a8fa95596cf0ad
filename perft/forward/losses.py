"""One forward pass through the base for the rows of many adapters, and each adapter's loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums
from perft.forward.batch import BatchShape, TokenBatch, TokenizedExample, collate
from perft.injection import AdapterHost, BatchLayout, rows_of
from perft.models.head import has_plain_head, token_choices, token_losses
from perft.models.whole_rows import whole_rows

Found = TypeVar("Found")


@dataclass(frozen=True)
class AdapterBatch:
    """One adapter's rows of a batch.

    Attributes:
        rows: token rows, at least one.
        drop: what its dropout masks depend on, on the CPU; None switches dropout off.
    """

    rows: Sequence[TokenizedExample]
    drop: DropKey | None = None


@dataclass(frozen=True)
class PackLosses:
    """What one forward pass gives each adapter, by name.

    Attributes:
        loss: sum of the cross-entropies of its predicted tokens, nats, fp32 or wider.
        sums: routing sums of the adapters that have a PEFT router, over all MoE layers.
        base_sums: routing sums of the base, for the adapters with `base_balance`.
    """

    loss: dict[str, Tensor]
    sums: dict[str, RouterSums]
    base_sums: dict[str, RouterSums]


@dataclass(frozen=True)
class PackBatch:
    """The rows of many adapters, ready to go through the base.

    Attributes:
        names: the adapters.
        batch: their rows.
        layout: which rows are whose.
    """

    names: tuple[str, ...]
    batch: TokenBatch
    layout: BatchLayout

    def tensors(self) -> list[Tensor]:
        """Everything about the rows that is on the device."""
        batch = self.batch
        drops = [s.drop.seed_b for s in self.layout.segments if isinstance(s.drop, DropKey)]
        found = (batch.ids_BS, batch.mask_BS, batch.position_N, batch.label_N, batch.is_real_N)
        return [*found, *drops]

    @torch.no_grad()
    def refill(self, other: "PackBatch") -> None:
        """Takes over the rows of a batch of the same adapters and shape, where its own were."""
        assert (self.names, self.batch.shape) == (other.names, other.batch.shape)
        for mine, its in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(its)


def pack_batch(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch], shape: BatchShape | None = None
) -> PackBatch:
    """Lays the rows of many adapters out as one batch on the base's device.

    Args:
        host: the base with the adapters on it.
        pad: token id of padding.
        parts: the rows of each adapter.
        shape: what the batch is filled up to; None for the rows as they are.
    """
    device = host.model.device
    batch = collate([part.rows for part in parts.values()], pad, device, shape)
    counts: dict[str | None, int] = {name: len(part.rows) for name, part in parts.items()}
    if filling := len(batch.ids_BS) - sum(counts.values()):
        counts[None] = filling
    layout = rows_of(counts, batch.mask_BS, _drops(parts, device))
    return PackBatch(tuple(parts), batch, layout)


def losses_of(host: AdapterHost, made: PackBatch) -> PackLosses:
    """Runs the base once over a batch; no adapter sees another's rows."""
    loss_N, layout = _run(host, made, token_losses)
    losses = dict(zip(made.names, made.batch.totals(loss_N), strict=True))
    return PackLosses(losses, layout.sums, layout.base_sums)


def pack_losses(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch], shape: BatchShape | None = None
) -> PackLosses:
    """`losses_of` what `pack_batch` makes."""
    return losses_of(host, pack_batch(host, pad, parts, shape))


def row_losses(host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch]) -> dict[str, Tensor]:
    """Like `pack_losses`, but each row's own sum: by adapter, (rows,), nats, fp64."""
    made = pack_batch(host, pad, parts)
    loss_N, _ = _run(host, made, token_losses)
    return {
        name: torch.stack([loss.double().sum() for loss in losses])
        for name, losses in zip(parts, made.batch.by_row(loss_N), strict=True)
    }


def pack_choices(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterBatch], shape: BatchShape | None = None
) -> dict[str, tuple[Tensor, tuple[Tensor, ...]]]:
    """The losses of `pack_losses`, without gradient, and what the adapters themselves would write.

    Returns:
        By adapter, its loss in nats, and for each of its rows the token that it finds most likely
        in the place of every predicted one, on the CPU.
    """
    made = pack_batch(host, pad, parts, shape)
    (loss_N, token_N), _ = _run(host, made, token_choices)
    losses, tokens = made.batch.totals(loss_N), made.batch.by_row(token_N.cpu())
    return dict(zip(parts, zip(losses, tokens, strict=True), strict=True))


def _run(host: AdapterHost, made: PackBatch, of: Callable[..., Found]) -> tuple[Found, BatchLayout]:
    """What `of` finds at every predicted token, and the layout with the routing of the pass."""
    batch, layout = made.batch, made.layout.replay()
    plain = has_plain_head(host.model)
    with host.using(layout), whole_rows():
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
