"""Decoding with the cache of the base's family, which grows with every token.

It works for every family, on several ranks, and is the faster way on a CPU.

Shapes: B rows, R rows in the order in which they were given, S tokens so far, N new tokens.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from perft.compat.transformers import select_rows
from perft.evaluation.decoding import (
    STEPS_BETWEEN_CHECKS,
    Batch,
    DecoderSettings,
    Openings,
    longest,
    padded,
    rows_at_once,
)
from perft.evaluation.loss import split_by_length
from perft.injection import AdapterHost, rows_of
from perft.ranks import Ranks

COMPACT_SHARE = 4
"""Ended rows are dropped once one row in this many has ended: dropping copies the cache."""

MEMORY_SHARE = 0.4
"""The cache's share of a GPU's free memory: it is copied whenever it grows."""

PROMPT_TOKENS = 65_536
"""Most padded prompt tokens of a batch, which go through the base in one pass."""


class GrowingCacheDecoder:
    """A `Decoder` that drops ended rows from batch and cache.

    Args:
        host: the base with the adapters on it.
        openings: all rows to write.
        settings: padding goes on the left.
        ranks: all ranks run the same number of forward passes.
    """

    def __init__(
        self, host: AdapterHost, openings: Openings, settings: DecoderSettings, ranks: Ranks
    ) -> None:
        self._host, self._pad, self._eos = host, settings.pad, settings.eos
        prompt = max((len(row.ids) for rows in openings.values() for row in rows), default=1)
        most = min(settings.max_rows, max(1, PROMPT_TOKENS // prompt))
        at_once = rows_at_once(host, longest(openings), MEMORY_SHARE, most)
        self.batches = _batches(openings, at_once, ranks)
        self.steps_between_checks = 1 if host.model.device.type == "cpu" else STEPS_BETWEEN_CHECKS

    def start(self, openings: Openings, new_tokens: int) -> None:
        """Begins a batch of at least one row, which may get up to `new_tokens` tokens."""
        rows = [row for each in openings.values() for row in each]
        device = self._host.model.device
        length = max(len(row.ids) for row in rows)
        ids_BS = padded([row.ids for row in rows], length, self._pad, left=True)
        lengths_B1 = torch.tensor([[len(row.ids)] for row in rows], device=device)
        self._ids_BS = torch.from_numpy(ids_BS).to(device)
        self._mask_BS = (torch.arange(length, device=device) >= length - lengths_B1).long()
        self._position_BS = (self._mask_BS.cumsum(1) - 1).clamp(min=0)
        self._names = list(openings)
        self._name_of = [name for name, each in openings.items() for _ in each]
        self._row_B = torch.arange(len(rows), device=device)
        self._room_B = torch.tensor([row.max_new_tokens for row in rows], device=device)
        self._done_B = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self._new_RN = torch.full((len(rows), new_tokens), self._eos, device=device)
        self._written, self._cache = 0, None

    def advance(self, steps: int) -> None:
        """Writes the next tokens of every row."""
        counts = Counter(self._name_of)
        layout = rows_of({name: counts[name] for name in self._names})
        for _ in range(steps):
            with self._host.using(layout.replay()):
                self._step()

    def _step(self) -> None:
        out = self._host.model(
            input_ids=self._ids_BS,
            attention_mask=self._mask_BS,
            position_ids=self._position_BS,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = out.past_key_values
        next_B = out.logits[:, -1].argmax(-1).masked_fill(self._done_B, self._eos)
        self._new_RN[self._row_B, self._written] = next_B
        self._written += 1
        self._done_B = self._done_B | (next_B == self._eos) | (self._room_B <= self._written)
        self._ids_BS = next_B.unsqueeze(1)
        self._mask_BS = torch.cat([self._mask_BS, torch.ones_like(self._ids_BS)], dim=1)
        self._position_BS = self._position_BS[:, -1:] + 1

    def ended(self) -> list[bool]:
        """Which rows of the pass have ended."""
        ended: list[bool] = self._done_B.tolist()
        return ended

    def drop(self, ended: Sequence[bool]) -> None:
        """Drops ended rows once they are many."""
        if sum(ended) * COMPACT_SHARE < len(ended):
            return
        # One row stays when all have ended: other ranks may still need this one's collectives.
        kept = [b for b, done in enumerate(ended) if not done] or [0]
        kept_B = torch.tensor(kept, device=self._row_B.device)
        select_rows(self._cache, kept_B)
        self._name_of = [self._name_of[b] for b in kept]
        self._row_B, self._room_B = self._row_B[kept_B], self._room_B[kept_B]
        self._done_B, self._ids_BS = self._done_B[kept_B], self._ids_BS[kept_B]
        self._mask_BS, self._position_BS = self._mask_BS[kept_B], self._position_BS[kept_B]

    def written(self) -> list[list[int]]:
        """The new tokens of the batch's rows, padded with eos."""
        written: list[list[int]] = self._new_RN.tolist()
        return written


def _batches(openings: Openings, at_once: int, ranks: Ranks) -> list[Batch]:
    """Batches of rows of similar length, longest first; equally many on every rank."""
    rows = [(name, i) for name, each in openings.items() for i in range(len(each))]
    lengths = [row.length for each in openings.values() for row in each]
    batches: list[Batch] = []
    for chunk in split_by_length(lengths, ranks.max(-(-len(rows) // at_once))):
        batch: dict[Any, list[int]] = {name: [] for name in openings}
        for k in chunk:
            name, i = rows[k]
            batch[name].append(i)
        batches.append(batch)
    return batches
