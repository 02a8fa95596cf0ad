"""Token rows of several adapters as one padded batch.

A part is the rows of one adapter, or rows without an adapter. Shapes: B rows, S padded length, N
predicted tokens, R rows with places for predictions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TokenizedExample = tuple[npt.NDArray[np.int32], int]
"""Token ids, and the number of tokens at the start without loss."""


@dataclass(frozen=True)
class BatchShape:
    """The fixed shape that a batch is filled up to.

    Attributes:
        rows: B.
        length: S, in tokens.
        adapters: number of adapters' parts.
        predictions: places for tokens with loss in each part.
        whole: N, rounded up.
        row_predictions: places for tokens with loss in each row; 0 if the rows of a part share the
            places of the part.
        references: number of parts without an adapter, after the adapters' parts.
    """

    rows: int
    length: int
    adapters: int
    predictions: int
    whole: int
    row_predictions: int = 0
    references: int = 0

    def start(self, part: int, row: int, before: int) -> int:
        """Where a row's predictions begin, after the `before` ones of its part's earlier rows."""
        return part * self.predictions + (row * self.row_predictions or before)


@dataclass(frozen=True)
class TokenBatch:
    """Rows padded on the right, and the tokens predicted in them.

    Attributes:
        ids_BS: token ids.
        mask_BS: false at padding.
        position_N: flat positions whose next token is predicted.
        label_N: those next tokens.
        is_real_N: false for filler predictions.
        targets: by part, the number of predictions of each of its rows.
        shape: the shape that the batch was filled up to; None if it was not.
    """

    ids_BS: Tensor
    mask_BS: Tensor
    position_N: Tensor
    label_N: Tensor
    is_real_N: Tensor
    targets: tuple[tuple[int, ...], ...]
    shape: BatchShape | None = None

    def by_row(self, value_N: Tensor) -> list[tuple[Tensor, ...]]:
        """By part, the values of each of its rows, if rows have no places of their own."""
        assert self.shape is None or not self.shape.row_predictions
        sizes: list[int] = []
        for targets in self.targets:
            room = sum(targets) if self.shape is None else self.shape.predictions
            sizes += [*targets, room - sum(targets)]
        pieces = iter(torch.split(value_N, [*sizes, len(value_N) - sum(sizes)]))
        return [tuple(islice(pieces, len(targets) + 1))[:-1] for targets in self.targets]

    def totals(self, loss_N: Tensor) -> list[Tensor]:
        """By part, the sum over its predictions.

        In a filled batch every adapter's sum has the same order of additions wherever its place is,
        and the operations do not depend on the number of adapters.
        """
        if self.shape is None:
            return [torch.cat(rows).sum() for rows in self.by_row(loss_N)]
        loss_N = torch.where(self.is_real_N, loss_N, 0.0)
        places = self.shape.adapters * self.shape.predictions
        total_A = loss_N[:places].view(self.shape.adapters, -1).sum(1)
        return list(total_A)[: len(self.targets)]

    def row_sums(self, loss_N: Tensor) -> Tensor:
        """The sum over each row's predictions, shape (R,), in the order of `row_numbers`.

        A row's sum has the same order of additions whatever else is in the batch.
        """
        if self.shape is None:
            targets = np.array([count for part in self.targets for count in part])
            row_N = torch.from_numpy(np.repeat(np.arange(len(targets)), targets))
            sum_R = loss_N.new_zeros(len(targets))
            return sum_R.index_add(0, row_N.to(loss_N.device), loss_N)
        assert self.shape.row_predictions, "rows whose sums are wanted need places of their own"
        places = (self.shape.adapters + self.shape.references) * self.shape.predictions
        loss_N = torch.where(self.is_real_N, loss_N, 0.0)
        return loss_N[:places].view(-1, self.shape.row_predictions).sum(1)

    def row_numbers(self, part: int) -> slice:
        """The indices in `row_sums` of a part's rows."""
        if self.shape is None:
            first = sum(map(len, self.targets[:part]))
        else:
            first = part * self.shape.predictions // self.shape.row_predictions
        return slice(first, first + len(self.targets[part]))


def target_count(row: TokenizedExample) -> int:
    """Predictions in a row: every token but the first and those without loss."""
    ids, free = row
    return max(0, len(ids) - max(free, 1))


def distinct(
    parts: Iterable[Sequence[TokenizedExample]],
) -> tuple[list[TokenizedExample], list[list[int]]]:
    """The distinct rows, and for each part the indices of its rows among them."""
    known: dict[tuple[bytes, int], int] = {}
    rows: list[TokenizedExample] = []
    numbers: list[list[int]] = []
    for part in parts:
        numbers.append([])
        for ids, free in part:
            number = known.setdefault((ids.tobytes(), free), len(rows))
            if number == len(rows):
                rows.append((ids, free))
            numbers[-1].append(number)
    return rows, numbers


def collate(
    parts: Sequence[Sequence[TokenizedExample]],
    pad: int,
    device: torch.device,
    shape: BatchShape | None = None,
) -> TokenBatch:
    """Pads rows on the right and lists the predicted tokens.

    Args:
        parts: the rows of each part, at least one row in all.
        pad: token id of padding.
        device: the device of the batch.
        shape: the shape to fill up to, with rows of padding and filler predictions; None for no
            filling.
    """
    rows = [row for part in parts for row in part]
    targets = tuple(tuple(map(target_count, part)) for part in parts)
    length = max(len(ids) for ids, _ in rows) if shape is None else shape.length
    ids_BS = np.full((len(rows) if shape is None else shape.rows, length), pad, dtype=np.int64)
    mask_BS = np.zeros(ids_BS.shape, dtype=bool)
    wanted_N = np.zeros((3, sum(map(sum, targets)) if shape is None else shape.whole), np.int64)
    b = done = 0
    for i, part in enumerate(parts):
        before = done  # predictions of the parts before this one
        for r, (ids, free) in enumerate(part):
            ids_BS[b, : len(ids)] = ids
            mask_BS[b, : len(ids)] = True
            first, count = max(free, 1), target_count((ids, free))
            at = done if shape is None else shape.start(i, r, done - before)
            wanted_N[0, at : at + count] = np.arange(first - 1, len(ids) - 1) + b * length
            wanted_N[1, at : at + count] = ids[first:]
            wanted_N[2, at : at + count] = 1
            b, done = b + 1, done + count
    position_N, label_N, is_real_N = torch.from_numpy(wanted_N).to(device)
    return TokenBatch(
        torch.from_numpy(ids_BS).to(device),
        torch.from_numpy(mask_BS).to(device),
        position_N,
        label_N,
        is_real_N.bool(),
        targets,
        shape,
    )
