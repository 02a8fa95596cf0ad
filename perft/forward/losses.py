"""One forward pass through the base for the rows of many adapters, and each adapter's loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums
from perft.forward.batch import Row, collate
from perft.injection import AdapterHost, rows_of
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
    per_row = torch.split(loss_N, list(batch.targets))
    loss, at = {}, 0
    for name, part in parts.items():
        loss[name] = torch.cat(per_row[at : at + len(part.rows)]).sum()
        at += len(part.rows)
    return PackLosses(loss, layout.sums, layout.base_sums)
