"""One forward pass through the base for the rows of many adapters, and each adapter's loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums
from perft.forward.batch import Row, collate
from perft.injection import AdapterHost, RowLayout, rows_of
from perft.models.head import has_plain_head, token_losses


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
    per_row, layout = _run(host, pad, parts)
    loss = {name: torch.cat(losses).sum() for name, losses in per_row.items()}
    return PackLosses(loss, layout.sums, layout.base_sums)


def row_losses(host: AdapterHost, pad: int, parts: Mapping[str, AdapterRows]) -> dict[str, Tensor]:
    """Like `pack_losses`, but each row's own sum: by adapter, (rows,), nats, fp64."""
    per_row, _ = _run(host, pad, parts)
    return {
        name: torch.stack([loss.double().sum() for loss in losses])
        for name, losses in per_row.items()
    }


def _run(
    host: AdapterHost, pad: int, parts: Mapping[str, AdapterRows]
) -> tuple[dict[str, tuple[Tensor, ...]], RowLayout]:
    """The cross-entropies of every row, by adapter, and the layout that went through the base."""
    device = host.model.device
    batch = collate([row for part in parts.values() for row in part.rows], pad, device)
    layout = rows_of(
        {name: len(part.rows) for name, part in parts.items()},
        batch.mask_BS,
        {name: part.drop for name, part in parts.items() if part.drop is not None},
    )
    plain = has_plain_head(host.model)
    with host.using(layout):
        loss_N = token_losses(
            host.model, batch.ids_BS, batch.position_N, batch.label_N, plain=plain
        )
    losses = torch.split(loss_N, list(batch.targets))
    per_row, at = {}, 0
    for name, part in parts.items():
        per_row[name] = losses[at : at + len(part.rows)]
        at += len(part.rows)
    return per_row, layout
