"""One forward pass through the base for the rows of many adapters, and each adapter's loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums
from perft.forward.batch import Row, TokenBatch, collate
from perft.injection import AdapterHost, RowLayout, rows_of
from perft.models.head import has_plain_head, token_choices, token_losses


@dataclass(frozen=True)
class AdapterRows:
    """One adapter's rows of a batch.

    Attributes:
        rows: token rows, at least one.
        drop: what its dropout masks depend on; None switches dropout off.
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


def pack_losses(host: AdapterHost, pad: int, parts: Mapping[str, AdapterRows]) -> PackLosses:
    """Runs the base once over all rows; no adapter sees another's.

    Args:
        host: the base with the adapters on it.
        pad: token id of padding.
        parts: the rows of each adapter.
    """
    (loss_N,), batch, layout = _run(host, pad, parts, _losses)
    per_row = _by_adapter(parts, torch.split(loss_N, list(batch.targets)))
    loss = {name: torch.cat(losses).sum() for name, losses in per_row.items()}
    return PackLosses(loss, layout.sums, layout.base_sums)


def row_losses(host: AdapterHost, pad: int, parts: Mapping[str, AdapterRows]) -> dict[str, Tensor]:
    """Like `pack_losses`, but each row's own sum: by adapter, (rows,), nats, fp64."""
    (loss_N,), batch, _ = _run(host, pad, parts, _losses)
    per_row = _by_adapter(parts, torch.split(loss_N, list(batch.targets)))
    return {
        name: torch.stack([loss.double().sum() for loss in losses])
        for name, losses in per_row.items()
    }


def pack_choices(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterRows]
) -> dict[str, tuple[Tensor, tuple[Tensor, ...]]]:
    """The losses of `pack_losses`, without gradient, and what the adapters themselves would write.

    Returns:
        By adapter, its loss in nats, and for each of its rows the token that it finds most likely
        in the place of every predicted one, on the CPU.
    """
    (loss_N, token_N), batch, _ = _run(host, pad, parts, token_choices)
    targets = list(batch.targets)
    losses = _by_adapter(parts, torch.split(loss_N, targets))
    tokens = _by_adapter(parts, torch.split(token_N.cpu(), targets))
    return {name: (torch.cat(losses[name]).sum(), tokens[name]) for name in parts}


def _losses(*args: Any, plain: bool) -> tuple[Tensor]:
    return (token_losses(*args, plain=plain),)


def _run(
    host: AdapterHost,
    pad: int,
    parts: Mapping[str, AdapterRows],
    of: Callable[..., tuple[Tensor, ...]],
) -> tuple[tuple[Tensor, ...], TokenBatch, RowLayout]:
    """What `of` finds at every predicted token, with the batch and the layout that went through."""
    batch = collate([row for part in parts.values() for row in part.rows], pad, host.model.device)
    layout = rows_of(
        {name: len(part.rows) for name, part in parts.items()},
        batch.mask_BS,
        {name: part.drop for name, part in parts.items() if part.drop is not None},
    )
    plain = has_plain_head(host.model)
    with host.using(layout):
        found = of(host.model, batch.ids_BS, batch.position_N, batch.label_N, plain=plain)
    return found, batch, layout


def _by_adapter(
    parts: Mapping[str, AdapterRows], rows: Sequence[Tensor]
) -> dict[str, tuple[Tensor, ...]]:
    each = iter(rows)
    return {name: tuple(islice(each, len(part.rows))) for name, part in parts.items()}
