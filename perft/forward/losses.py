"""One forward pass through the base for the rows of many adapters, and each adapter's loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums
from perft.forward.batch import BatchShape, Row, TokenBatch, collate
from perft.injection import AdapterHost, RowLayout, rows_of
from perft.models.head import has_plain_head, token_choices, token_losses

Found = TypeVar("Found")


@dataclass(frozen=True)
class AdapterRows:
    """One adapter's rows of a batch.

    Attributes:
        rows: token rows, at least one.
        drop: what its dropout masks depend on, on the CPU; None switches dropout off.
    """

    rows: Sequence[Row]
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


def pack_losses(
    host: AdapterHost,
    pad: int,
    parts: Mapping[str, AdapterRows],
    shape: BatchShape | None = None,
) -> PackLosses:
    """Runs the base once over all rows; no adapter sees another's.

    Args:
        host: the base with the adapters on it.
        pad: token id of padding.
        parts: the rows of each adapter.
        shape: what the batch is filled up to; None for the rows as they are.
    """
    loss_N, batch, layout = _run(host, pad, parts, token_losses, shape)
    return PackLosses(_totals(parts, batch, loss_N), layout.sums, layout.base_sums)


def row_losses(host: AdapterHost, pad: int, parts: Mapping[str, AdapterRows]) -> dict[str, Tensor]:
    """Like `pack_losses`, but each row's own sum: by adapter, (rows,), nats, fp64."""
    loss_N, batch, _ = _run(host, pad, parts, token_losses, None)
    return {
        name: torch.stack([loss.double().sum() for loss in losses])
        for name, losses in _by_row(parts, batch, loss_N).items()
    }


def pack_choices(
    host: AdapterHost,
    pad: int,
    parts: Mapping[str, AdapterRows],
    shape: BatchShape | None = None,
) -> dict[str, tuple[Tensor, tuple[Tensor, ...]]]:
    """The losses of `pack_losses`, without gradient, and what the adapters themselves would write.

    Returns:
        By adapter, its loss in nats, and for each of its rows the token that it finds most likely
        in the place of every predicted one, on the CPU.
    """
    (loss_N, token_N), batch, _ = _run(host, pad, parts, token_choices, shape)
    losses, tokens = _totals(parts, batch, loss_N), _by_row(parts, batch, token_N.cpu())
    return {name: (losses[name], tokens[name]) for name in parts}


def _run(
    host: AdapterHost,
    pad: int,
    parts: Mapping[str, AdapterRows],
    of: Callable[..., Found],
    shape: BatchShape | None,
) -> tuple[Found, TokenBatch, RowLayout]:
    """What `of` finds at every predicted token, with the batch and the layout that went through."""
    rows = [row for part in parts.values() for row in part.rows]
    batch = collate(rows, pad, host.model.device, shape)
    counts: dict[str | None, int] = {name: len(part.rows) for name, part in parts.items()}
    if len(batch.ids_BS) > len(rows):
        counts[None] = len(batch.ids_BS) - len(rows)
    layout = rows_of(
        counts,
        batch.mask_BS,
        _drops(parts, host.model.device),
    )
    plain = has_plain_head(host.model)
    with host.using(layout):
        found = of(host.model, batch.ids_BS, batch.position_N, batch.label_N, plain=plain)
    return found, batch, layout


def _drops(parts: Mapping[str, AdapterRows], device: torch.device) -> dict[str, DropKey]:
    """The keys of the adapters that drop, on the device: views of one tensor, copied once."""
    seeds = {name: part.drop.seed_b for name, part in parts.items() if part.drop is not None}
    if not seeds:
        return {}
    rows = [len(seed_b) for seed_b in seeds.values()]
    each = torch.split(torch.cat(list(seeds.values())).to(device), rows)
    return {name: DropKey(seed_b) for name, seed_b in zip(seeds, each, strict=True)}


def _totals(
    parts: Mapping[str, AdapterRows], batch: TokenBatch, loss_N: Tensor
) -> dict[str, Tensor]:
    return {name: torch.cat(rows).sum() for name, rows in _by_row(parts, batch, loss_N).items()}


def _by_row(
    parts: Mapping[str, AdapterRows], batch: TokenBatch, value_N: Tensor
) -> dict[str, tuple[Tensor, ...]]:
    """By adapter, the part of each of its rows."""
    rest = len(value_N) - sum(batch.targets)
    rows = iter(torch.split(value_N, [*batch.targets, rest]))
    return {name: tuple(islice(rows, len(part.rows))) for name, part in parts.items()}
