"""Decoding in memory at fixed addresses, so that a step can be captured and replayed.

On a GPU launches bound a decode step: with the adapters of eight trials it takes as long for 40
rows as for 400. So a batch has as many rows as memory holds, and a step runs as a CUDA graph. Each
bucket, a number of rows per adapter and of columns, has its own graph. Ended rows stay until the
others fit a bucket of half the size.

A row begins in the first column, so a token's column is its position, and the columns to the right
of a row's last token are masked.

Shapes: B rows (of each adapter adjacent and equally many), R rows in the order in which they were
given, L columns, S tokens of a prompt without its last, N new tokens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from perft.compat.transformers import Cache
from perft.evaluation.buckets import (
    batches_by_adapter,
    plan_batches,
    round_up_columns,
    round_up_rows,
)
from perft.evaluation.decoding import (
    STEPS_BETWEEN_CHECKS,
    DecoderSettings,
    Ids,
    Opening,
    Openings,
    longest,
    padded,
    rows_at_once,
)
from perft.evaluation.loss import TOKENS_PER_FORWARD
from perft.injection import AdapterHost, BatchLayout, rows_of
from perft.models.capture import Capture, Step
from perft.models.kv_cache import FixedCache

MEMORY_SHARE = 0.6
"""The cache's share of a GPU's free memory; passes over prompts take some of the rest."""

_EMPTY = np.array([], dtype=np.int32)


@dataclass(frozen=True)
class _State:
    """The state of the rows, in buffers.

    Attributes:
        ids_B: each row's last token, which the next pass reads.
        column_B: its column.
        last_B: the column of the last token that the row may have.
        done_B: whether the row has ended.
        row_B: the row's number in the batch; R for padding.
    """

    ids_B: Tensor
    column_B: Tensor
    last_B: Tensor
    done_B: Tensor
    row_B: Tensor

    @classmethod
    def of(cls, rows: Sequence[Opening | None], eos: int, device: torch.device) -> "_State":
        """The state before the first pass, which reads the last token of every prompt."""
        numbers = iter(range(len(rows)))
        numbers_of = [
            (row.ids[-1], len(row.ids) - 1, row.length - 1, 0, next(numbers))
            if row is not None
            else (eos, 0, 0, 1, len(rows))
            for row in rows
        ]
        ids_B, column_B, last_B, done_B, row_B = torch.tensor(
            numbers_of, dtype=torch.long, device=device
        ).T.contiguous()
        return cls(ids_B, column_B, last_B, done_B.bool(), row_B)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All buffers."""
        return self.ids_B, self.column_B, self.last_B, self.done_B, self.row_B

    def first(self, rows: int) -> "_State":
        """Views of the first rows."""
        return _State(*(tensor[:rows] for tensor in self.tensors))

    def write(self, other: "_State") -> None:
        """Overwrites the first rows."""
        for mine, tensor in zip(self.tensors, other.tensors, strict=True):
            mine[: len(tensor)] = tensor

    def at(self, from_B: Tensor) -> "_State":
        """Copies of some rows."""
        return _State(*(tensor[from_B] for tensor in self.tensors))


@dataclass(frozen=True)
class _Step:
    """One pass of a bucket: reads each row's last token and writes the next.

    It has no reference cycle, so that its memory is freed with the decoder.

    Attributes:
        host: the base with the adapters on it.
        layout: the bucket's rows.
        cache: the bucket's part of the cache.
        state: the bucket's rows in the buffers.
        column_L: indices of the bucket's columns.
        new_RN: new tokens; the last row takes those of padding.
        written_1: number of new tokens of each row so far.
        eos: token id that ends a row.
    """

    host: AdapterHost
    layout: BatchLayout
    cache: Cache
    state: _State
    column_L: Tensor
    new_RN: Tensor
    written_1: Tensor
    eos: int

    def __call__(self) -> None:
        state = self.state
        column_B1 = state.column_B.unsqueeze(1)
        with self.host.using(self.layout.replay()):
            out = self.host.model(
                input_ids=state.ids_B.unsqueeze(1),
                attention_mask=(self.column_L <= column_B1)[:, None, None],
                position_ids=column_B1,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        state.ids_B.copy_(out.logits[:, -1].argmax(-1)).masked_fill_(state.done_B, self.eos)
        self.new_RN.index_put_((state.row_B, self.written_1), state.ids_B)
        self.written_1.add_(1)
        state.done_B.logical_or_(state.ids_B == self.eos)
        state.done_B.logical_or_(state.column_B + 1 >= state.last_B)
        state.column_B.add_(~state.done_B)


class FixedCacheDecoder:
    """A `Decoder` with a `FixedCache`, for a base that allows one, in one process.

    Args:
        host: the base with the adapters on it.
        openings: all rows to write, at least one.
        settings: padding goes on the right.
        capture: turns a step into a captured one.
    """

    steps_between_checks = STEPS_BETWEEN_CHECKS

    def __init__(
        self, host: AdapterHost, openings: Openings, settings: DecoderSettings, capture: Capture
    ) -> None:
        self._host, self._capture = host, capture
        self._pad, self._eos = settings.pad, settings.eos
        self._names = [name for name, rows in openings.items() if rows]
        columns = round_up_columns(longest(openings))
        parts, self._most_each = plan_batches(
            max(len(rows) for rows in openings.values()),
            len(self._names),
            rows_at_once(host, columns, MEMORY_SHARE, settings.max_rows),
        )
        rows = len(self._names) * self._most_each
        with host.using(rows_of({None: 1})):
            self._cache = FixedCache(host.model, rows, columns)
        self.batches = batches_by_adapter(openings, parts)
        self._state = _State.of([None] * rows, self._eos, host.model.device)
        self._column_L = torch.arange(columns, device=host.model.device)
        room = max(row.max_new_tokens for rows in openings.values() for row in rows)
        self._new_RN = self._state.ids_B.new_full((rows + 1, room), self._eos)
        self._written_1 = self._state.ids_B.new_zeros(1)
        self._steps: dict[tuple[int, int], Step] = {}

    def start(self, openings: Openings, new_tokens: int) -> None:
        """Begins a batch of at least one row, which may get up to `new_tokens` tokens."""
        self._each, self._columns = self._most_each, round_up_columns(longest(openings))
        self._batch = slice(sum(map(len, openings.values()))), slice(new_tokens)
        rows: list[Opening | None] = []
        for name in self._names:
            rows += [*openings[name], *[None] * (self._each - len(openings[name]))]
        self._state.write(_State.of(rows, self._eos, self._column_L.device))
        self._new_RN.fill_(self._eos)
        self._written_1.zero_()
        self._cache.clear()
        self._read([row.ids[:-1] if row is not None else _EMPTY for row in rows])

    def _read(self, prompts: Sequence[Ids]) -> None:
        """Runs the prompts through the base to fill the cache, some at a time."""
        rows = max(1, TOKENS_PER_FORWARD // round_up_columns(max(1, *map(len, prompts))))
        for start in range(0, len(prompts), rows):
            part = slice(start, min(start + rows, len(prompts)))
            if any(map(len, prompts[part])):
                self._read_part(part, prompts[part])

    def _read_part(self, part: slice, prompts: Sequence[Ids]) -> None:
        length = round_up_columns(max(map(len, prompts)))
        ids_BS = torch.from_numpy(padded(prompts, length, self._pad, left=False))
        column_1S = self._column_L[:length].unsqueeze(0)
        counts = Counter(self._names[b // self._each] for b in range(part.start, part.stop))
        with self._host.using(rows_of(counts)):
            self._host.model(
                input_ids=ids_BS.to(column_1S.device),
                position_ids=column_1S.expand(ids_BS.shape),
                past_key_values=self._cache.filled(part, length),
                use_cache=True,
                logits_to_keep=1,
            )

    def advance(self, steps: int) -> None:
        """Writes the next tokens of every row."""
        bucket = self._each, self._columns
        if bucket not in self._steps:
            self._steps[bucket] = self._capture(self._step_of(*bucket))
        for _ in range(steps):
            self._steps[bucket]()

    def _step_of(self, each: int, columns: int) -> Step:
        rows = each * len(self._names)
        state = self._state.first(rows)
        return _Step(
            self._host,
            rows_of(dict.fromkeys(self._names, each)),
            self._cache.continued(rows, columns, state.column_B),
            state,
            self._column_L[:columns],
            self._new_RN,
            self._written_1,
            self._eos,
        )

    def ended(self) -> list[bool]:
        """Which rows of the bucket have ended."""
        ended: list[bool] = self._state.done_B[: self._each * len(self._names)].tolist()
        return ended

    def drop(self, ended: Sequence[bool]) -> None:
        """Moves the rows that have not ended to a bucket of half the size or less, if they fit."""
        starts = range(0, len(ended), self._each)
        rows = [range(start, start + self._each) for start in starts]
        each = round_up_rows(max(sum(not ended[b] for b in some) for some in rows))
        if 2 * each > self._each:
            return
        kept = [b for some in rows for b in sorted(some, key=lambda b: ended[b])[:each]]
        from_B = torch.tensor(kept, device=self._column_L.device)
        self._cache.move(from_B)
        self._state.write(self._state.at(from_B))
        self._each = each

    def written(self) -> list[list[int]]:
        """The new tokens of the batch's rows, padded with eos."""
        written: list[list[int]] = self._new_RN[self._batch].tolist()
        return written
