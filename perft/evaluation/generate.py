"""Batched greedy generation with a KV cache, for the rows of many adapters at once.

Shapes: B rows, S tokens so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perft.injection import AdapterHost, rows_of
from perft.ranks import Ranks

Ids = npt.NDArray[np.int32]
Name = TypeVar("Name", str, str | None)

COMPACT_SHARE = 4
"""Ended rows are dropped once they are one in this many: dropping copies the cache."""


@dataclass(frozen=True)
class Opening:
    """What one row is continued from.

    Attributes:
        ids: the prompt's token ids, and those of its answer that are known.
        room: new tokens that may follow, at least one.
    """

    ids: Ids
    room: int


@torch.no_grad()
def generate(
    host: AdapterHost,
    openings: Mapping[Name, Sequence[Opening]],
    *,
    pad: int,
    eos: int,
    ranks: Ranks,
) -> dict[Name, list[list[int]]]:
    """Continues every row greedily, until end of sequence or until it has no room.

    Args:
        host: the base with the adapters on it.
        openings: rows by adapter, where None is the base alone; on some rank there may be none.
        pad: token id of padding, which goes on the left.
        eos: token id that ends a row.
        ranks: all ranks run the same number of forward passes.

    Returns:
        For each adapter, for each of its rows, the new token ids without end of sequence.
    """
    counts: dict[Any, int] = {name: len(rows) for name, rows in openings.items()}
    rows = [row for each in openings.values() for row in each]
    if not rows:
        # A rank without rows still takes part in the collectives of a sharded base.
        rows, counts = [Opening(np.array([eos], dtype=np.int32), 1)], {None: 1}
    ids_BS, mask_BS = _left_padded([row.ids for row in rows], pad, host.model.device)
    decoding = _Decoding(host, counts, [row.room for row in rows], eos)
    position_BS = (mask_BS.cumsum(1) - 1).clamp(min=0)
    while True:
        next_B = decoding.step(ids_BS, mask_BS, position_BS)
        if not _any(decoding.waiting, ranks):
            break
        mask_BS = torch.cat([mask_BS, mask_BS.new_ones(len(mask_BS), 1)], dim=1)
        kept_B = decoding.compact()
        ids_BS = next_B[kept_B].unsqueeze(1)
        mask_BS, position_BS = mask_BS[kept_B], position_BS[kept_B, -1:] + 1
    outputs = iter([_until(row, eos) for row in decoding.new_BN.tolist()])
    return {name: list(islice(outputs, len(each))) for name, each in openings.items()}


class _Decoding:
    """Rows that are still being written; finished ones are dropped from batch and cache."""

    def __init__(
        self, host: AdapterHost, counts: Mapping[Any, int], room: Sequence[int], eos: int
    ) -> None:
        device = host.model.device
        self.new_BN = torch.full((len(room), max(room)), eos, device=device)
        self._host, self._names, self._eos = host, list(counts), eos
        each = torch.tensor(list(counts.values()), device=device)
        self._name_B = torch.arange(len(counts), device=device).repeat_interleave(each)
        self._row_B = torch.arange(len(room), device=device)
        self._room_B = torch.tensor(room, device=device)
        self._done_B = torch.zeros(len(room), dtype=torch.bool, device=device)
        self._cache: Any = None
        self._written = 0

    @property
    def waiting(self) -> Tensor:
        """How many rows have not ended."""
        count: Tensor = (~self._done_B).sum()
        return count

    def step(self, ids_BS: Tensor, mask_BS: Tensor, position_BS: Tensor) -> Tensor:
        """One forward pass; writes and returns the next token of every row."""
        counts = torch.bincount(self._name_B, minlength=len(self._names)).tolist()
        layout = rows_of(dict(zip(self._names, counts, strict=True)))
        with self._host.using(layout):
            out = self._host.model(
                input_ids=ids_BS,
                attention_mask=mask_BS,
                position_ids=position_BS,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._cache = out.past_key_values
        next_B: Tensor = out.logits[:, -1].argmax(-1).masked_fill(self._done_B, self._eos)
        if self._written < self.new_BN.shape[1]:  # beyond, only other ranks have rows to write
            self.new_BN[self._row_B, self._written] = next_B
        self._written += 1
        full_B = self._room_B <= self._written
        self._done_B = self._done_B | (next_B == self._eos) | full_B
        return next_B

    def compact(self) -> Tensor:
        """Drops ended rows once they are many; returns the indices of those that stay."""
        kept_B = torch.arange(len(self._row_B), device=self._row_B.device)
        if self._done_B.sum() * COMPACT_SHARE < len(kept_B):
            return kept_B
        # One row stays when all have ended: other ranks may still need this one's collectives.
        kept_B = kept_B[~self._done_B] if not self._done_B.all() else kept_B[:1]
        _keep_rows(self._cache, kept_B)
        self._row_B, self._name_B = self._row_B[kept_B], self._name_B[kept_B]
        self._done_B, self._room_B = self._done_B[kept_B], self._room_B[kept_B]
        return kept_B


def _keep_rows(cache: Any, kept_B: Tensor) -> None:
    # The method of every cache for this leaves out what convolutions and linear attention keep,
    # the one for beam search does not; a family that has its own cache overrides the former.
    if "batch_select_indices" in vars(type(cache)):
        cache.batch_select_indices(kept_B)
    else:
        cache.reorder_cache(kept_B)


def _left_padded(rows: Sequence[Ids], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, length - len(row) :] = row
        mask[b, length - len(row) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _any(count: Tensor, ranks: Ranks) -> bool:
    count = count.clone()
    ranks.add_up([count])
    return bool(count)


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
