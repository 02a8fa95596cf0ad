"""Validation loss of many adapters at once."""

from collections.abc import Sequence

import numpy as np
import torch

from perft.forward import AdapterRows, Row, pack_losses, target_count
from perft.injection import AdapterHost
from perft.ranks import Ranks

TOKENS_PER_FORWARD = 16_384
"""Padded tokens of one evaluation forward pass, over all adapters; bounds its memory."""


def chunks_by_length(lengths: Sequence[int], copies: int, ranks: Ranks) -> list[list[int]]:
    """Splits rows into chunks of similar length, longest first.

    Args:
        lengths: tokens of each row.
        copies: how many adapters see each row.
        ranks: every chunk has a row for every rank where there are enough rows.

    Returns:
        Indices of the rows of each chunk.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    rows = max(ranks.size, TOKENS_PER_FORWARD // (copies * max(lengths)))
    count = max(1, -(-len(order) // rows))
    if len(order) // count < ranks.size:
        count = max(1, len(order) // ranks.size)
    return [part.tolist() for part in np.array_split(np.array(order), count)]


@torch.no_grad()
def validation_losses(
    host: AdapterHost, names: Sequence[str], rows: Sequence[Row], pad: int, ranks: Ranks
) -> dict[str, float]:
    """Mean cross-entropy (nats per predicted token) of each adapter over all rows.

    Args:
        host: the base with the adapters on it.
        names: the adapters.
        rows: token rows, at least one per rank; every adapter sees all of them.
        pad: token id of padding.
        ranks: the rows are shared among them.
    """
    totals = {name: torch.zeros((), dtype=torch.float64) for name in names}
    for chunk in chunks_by_length([len(ids) for ids, _ in rows], len(names), ranks):
        mine = [rows[i] for i in chunk[ranks.share(len(chunk))]]
        losses = pack_losses(host, pad, {name: AdapterRows(mine) for name in names})
        for name in names:
            totals[name] += losses.loss[name].double().cpu()
    on_device = {name: total.to(ranks.device) for name, total in totals.items()}
    ranks.add_up(list(on_device.values()))
    targets = sum(target_count(row) for row in rows)
    return {name: float(total) / targets for name, total in on_device.items()}
