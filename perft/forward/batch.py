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
        targets: how many predictions each row has, in row order; those that fill come after.
    """

    ids_BS: Tensor
    mask_BS: Tensor
    position_N: Tensor
    label_N: Tensor
    targets: tuple[int, ...]


@dataclass(frozen=True)
class BatchShape:
    """What a batch is filled up to, whatever rows it has.

    Attributes:
        rows: B.
        length: S, in tokens.
        predictions: N.
    """

    rows: int
    length: int
    predictions: int


def target_count(row: Row) -> int:
    """Predictions in a row: every token but the first and those without loss."""
    ids, free = row
    return max(0, len(ids) - max(free, 1))


def collate(
    rows: Sequence[Row], pad: int, device: torch.device, shape: BatchShape | None = None
) -> TokenBatch:
    """Pads rows on the right and lists what is predicted.

    Args:
        rows: at least one.
        pad: token id of padding.
        device: where the batch goes.
        shape: what the batch is filled up to, with rows of padding and with predictions of the
            first token that no row has; None for the longest row and no more.
    """
    targets = tuple(target_count(row) for row in rows)
    shape = shape or BatchShape(len(rows), max(len(ids) for ids, _ in rows), sum(targets))
    length, rest = shape.length, shape.predictions - sum(targets)
    assert rest >= 0, f"{sum(targets)} predictions have no room in {shape}"
    ids_BS = np.full((shape.rows, length), pad, dtype=np.int64)
    mask_BS = np.zeros((shape.rows, length), dtype=bool)
    positions, labels = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for b, (ids, free) in enumerate(rows):
        ids_BS[b, : len(ids)] = ids
        mask_BS[b, : len(ids)] = True
        first = max(free, 1)
        positions.append(np.arange(first - 1, len(ids) - 1) + b * length)
        labels.append(ids[first:].astype(np.int64))
    return TokenBatch(
        torch.from_numpy(ids_BS).to(device),
        torch.from_numpy(mask_BS).to(device),
        torch.from_numpy(np.pad(np.concatenate(positions), (0, rest))).to(device),
        torch.from_numpy(np.pad(np.concatenate(labels), (0, rest))).to(device),
        targets,
    )
