"""Validation loss of many adapters at once."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from perft.forward import AdapterRows, Lanes, Row, pack_losses, target_count
from perft.injection import AdapterHost
from perft.ranks import Ranks

TOKENS_PER_FORWARD = 16_384
"""Padded tokens of one evaluation forward pass, over all adapters; bounds its memory."""


def chunks_by_length(
    lengths: Sequence[int], copies: int, ranks: Ranks, lanes: int = 1
) -> list[list[int]]:
    """Splits rows into chunks of similar length, longest first.

    Args:
        lengths: tokens of each row.
        copies: how many adapters see each row.
        ranks: every chunk has a row for every rank where there are enough rows.
        lanes: chunks that can be taken at the same time; there is one for each.

    Returns:
        Indices of the rows of each chunk.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    rows = max(ranks.size, TOKENS_PER_FORWARD // (copies * max(lengths)))
    count = min(len(order), -(-len(order) // (rows * lanes)) * lanes)
    if len(order) // count < ranks.size:
        count = max(1, len(order) // ranks.size)
    return [part.tolist() for part in np.array_split(np.array(order), count)]


@torch.no_grad()
def validation_losses(
    lanes: Lanes, names: Sequence[str], rows: Sequence[Row], pad: int, ranks: Ranks
) -> dict[str, float]:
    """Mean cross-entropy (nats per predicted token) of each adapter over all rows.

    Args:
        lanes: the base with the adapters on it.
        names: the adapters.
        rows: token rows, at least one per rank; every adapter sees all of them.
        pad: token id of padding.
        ranks: the rows are shared among them.
    """

    def losses_of(host: AdapterHost, chunk: Sequence[int]) -> Mapping[str, Tensor]:
        mine = AdapterRows([rows[i] for i in chunk[ranks.share(len(chunk))]])
        return pack_losses(host, pad, dict.fromkeys(names, mine)).loss

    lengths = [len(ids) for ids, _ in rows]
    losses = lanes.run(losses_of, chunks_by_length(lengths, len(names), ranks, lanes.count))
    totals = {name: torch.stack([part[name].double() for part in losses]).sum() for name in names}
    ranks.add_up(list(totals.values()))
    targets = sum(target_count(row) for row in rows)
    return {name: float(total) / targets for name, total in totals.items()}
