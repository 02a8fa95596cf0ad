"""The running batch: rows of many adapters on one base, which join and leave between tokens.

Rows are padded on the left and share one cache. A row that joins a cache of keys and values is
filled alone and appended; of other families (windows, linear attention) the whole batch is filled
again, which writes the same tokens.

Shapes: B rows, S tokens of one forward pass, L columns of the cache.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from perft.compat.transformers import Cache, select_rows
from perft.evaluation.decoding import padded
from perft.injection import AdapterHost, rows_of
from perft.models.row_cache import add_rows, columns, cut_columns, takes_rows
from perft.serving.sampling import Sampler, next_tokens


@dataclass(eq=False)
class Row:
    """One text that is written.

    Attributes:
        adapter: its adapter's name on the host; None is the base alone.
        ids: token ids of the prompt and of what is written so far.
        sampler: chooses its tokens.
    """

    adapter: str | None
    ids: list[int]
    sampler: Sampler


Written = list[tuple[Row, int]]
"""Rows and the token that each was given."""


class RunningBatch:
    """Rows in the middle of being written. Not for several threads.

    Invariant: the cache holds all tokens of each row but the last, and rows of one adapter are
    adjacent.

    Args:
        host: the base with the adapters on it.
        pad: token id of padding.
    """

    def __init__(self, host: AdapterHost, pad: int) -> None:
        self._host, self._pad = host, pad
        self._order = {name: i for i, name in enumerate([*host.configs, None])}
        self.clear()

    def clear(self) -> None:
        """Drops every row, also after an error that left rows and cache apart."""
        self.rows: list[Row] = []
        self._cache: Cache | None = None
        self._mask_BL: Tensor | None = None

    @torch.no_grad()
    def advance(self, joining: Sequence[Row], leaving: Collection[Row]) -> Written:
        """Drops and adds rows, and writes at least one token of every row that joins.

        Args:
            joining: new rows, each with a prompt of at least one token.
            leaving: rows of the batch.

        Returns:
            The written tokens. Without a row that joins, each row of the batch gets one.
        """
        self._drop(leaving)
        if joining:
            return self._add(joining)
        return self._step() if self.rows else []

    def _drop(self, leaving: Collection[Row]) -> None:
        kept = [b for b, row in enumerate(self.rows) if row not in leaving]
        if len(kept) == len(self.rows):
            return
        if not kept:
            self.clear()
            return
        self._select(kept)
        assert self._mask_BL is not None
        if takes_rows(self._cache):
            empty = int(self._mask_BL.sum(0).eq(0).long().cumprod(0).sum())
            cut_columns(self._cache, empty)
            self._mask_BL = self._mask_BL[:, empty:]

    def _select(self, kept: Sequence[int]) -> None:
        """Keeps these rows, in this order."""
        assert self._mask_BL is not None
        kept_B = torch.tensor(kept, device=self._mask_BL.device)
        select_rows(self._cache, kept_B)
        self._mask_BL = self._mask_BL[kept_B]
        self.rows = [self.rows[b] for b in kept]

    def _add(self, joining: Sequence[Row]) -> Written:
        if self._cache is not None and not takes_rows(self._cache):
            joining = [*self.rows, *joining]
            self.clear()
        joining = sorted(joining, key=self._place)
        cache, mask_BL, written = self._filled(joining)
        if self._cache is None:
            self.rows, self._cache, self._mask_BL = list(joining), cache, mask_BL
            return written
        assert self._mask_BL is not None
        add_rows(self._cache, cache)
        length = columns(self._cache)
        both = [F.pad(m, (length - m.shape[1], 0)) for m in (self._mask_BL, mask_BL)]
        self._mask_BL = torch.cat(both)
        self.rows = [*self.rows, *joining]
        self._select(sorted(range(len(self.rows)), key=lambda b: self._place(self.rows[b])))
        return written

    def _place(self, row: Row) -> int:
        return self._order[row.adapter]

    def _filled(self, rows: Sequence[Row]) -> tuple[Cache, Tensor, Written]:
        """The cache of whole rows, its mask, and each row's next token."""
        device = self._host.model.device
        length = max(len(row.ids) for row in rows)
        arrays = [np.array(row.ids, dtype=np.int32) for row in rows]
        ids_BS = torch.from_numpy(padded(arrays, length, self._pad, left=True)).to(device)
        lengths_B1 = torch.tensor([[len(row.ids)] for row in rows], device=device)
        mask_BS = (torch.arange(length, device=device) >= length - lengths_B1).long()
        position_BS = (mask_BS.cumsum(1) - 1).clamp(min=0)
        cache, written = self._pass(rows, ids_BS, mask_BS, position_BS, None)
        return cache, mask_BS, written

    def _step(self) -> Written:
        """One token of every row."""
        assert self._mask_BL is not None
        device = self._mask_BL.device
        last_B1 = torch.tensor([[row.ids[-1]] for row in self.rows], device=device)
        position_B1 = torch.tensor([[len(row.ids) - 1] for row in self.rows], device=device)
        self._mask_BL = F.pad(self._mask_BL, (0, 1), value=1)
        self._cache, written = self._pass(
            self.rows, last_B1, self._mask_BL, position_B1, self._cache
        )
        return written

    def _pass(
        self,
        rows: Sequence[Row],
        ids_BS: Tensor,
        mask_BL: Tensor,
        position_BS: Tensor,
        cache: Cache | None,
    ) -> tuple[Cache, Written]:
        counts = Counter(row.adapter for row in rows)
        layout = rows_of({name: counts[name] for name in self._order if counts[name]})
        with self._host.using(layout):
            out = self._host.model(
                input_ids=ids_BS,
                attention_mask=mask_BL,
                position_ids=position_BS,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        tokens = next_tokens(out.logits[:, -1], [row.sampler for row in rows])
        for row, token in zip(rows, tokens, strict=True):
            row.ids.append(token)
        return out.past_key_values, list(zip(rows, tokens, strict=True))
