"""Token rows of several adapters as one padded batch.

Shapes: B rows, S padded length, N predicted tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Row = tuple[npt.NDArray[np.int32], int]
"""Token ids and how many of them, at the start, carry no loss."""


@dataclass(frozen=True)
class TokenBatch:
    """Rows padded on the right, and what is predicted in them.

    Attributes:
        ids_BS: token ids.
        mask_BS: false at padding.
        position_N: flat positions whose next token is predicted.
        label_N: those next tokens.
        targets: how many predictions each row has, in row order.
    """

    ids_BS: Tensor
    mask_BS: Tensor
    position_N: Tensor
    label_N: Tensor
    targets: tuple[int, ...]


def target_count(row: Row) -> int:
    """Predictions in a row: every token but the first and those without loss."""
    ids, free = row
    return max(0, len(ids) - max(free, 1))


def collate(rows: Sequence[Row], pad: int, device: torch.device) -> TokenBatch:
    """Pads rows on the right to the longest and lists what is predicted."""
    length = max(len(ids) for ids, _ in rows)
    ids_BS = np.full((len(rows), length), pad, dtype=np.int64)
    mask_BS = np.zeros((len(rows), length), dtype=bool)
    positions, labels = [], []
    for b, (ids, free) in enumerate(rows):
        ids_BS[b, : len(ids)] = ids
        mask_BS[b, : len(ids)] = True
        first = max(free, 1)
        positions.append(np.arange(first - 1, len(ids) - 1) + b * length)
        labels.append(ids[first:])
    return TokenBatch(
        torch.from_numpy(ids_BS).to(device),
        torch.from_numpy(mask_BS).to(device),
        torch.from_numpy(np.concatenate(positions)).to(device),
        torch.from_numpy(np.concatenate(labels).astype(np.int64)).to(device),
        tuple(target_count(row) for row in rows),
    )
