"""Batched greedy generation with a KV cache, for the rows of many adapters at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from perft.evaluation.decoding import Decoder, DecoderSettings, Opening, Openings
from perft.evaluation.fixed import FixedCacheDecoder
from perft.evaluation.growing import GrowingCacheDecoder
from perft.injection import AdapterHost
from perft.models import capture
from perft.models.compiling import uncompiled
from perft.models.kv_cache import allows_fixed_cache
from perft.ranks import Ranks

Name = TypeVar("Name", str, str | None)

MAX_ROWS = 1024
"""Most rows of a batch: enough for any device, and their logits take memory, too."""

Advance = Callable[[float], None]
"""Hears of every batch that is done: its share of all rows."""


def unheard(_share: float) -> None:
    """Lets a batch pass without a word."""


@torch.no_grad()
def generate(
    host: AdapterHost,
    openings: Mapping[Name, Sequence[Opening]],
    *,
    pad: int,
    eos: int,
    ranks: Ranks,
    advance: Advance = unheard,
) -> dict[Name, list[list[int]]]:
    """Continues every row greedily, until end of sequence or its `max_new_tokens`.

    Batches are as large as memory allows; their size changes no row.

    Args:
        host: the base with the adapters on it.
        openings: rows by adapter, where None is the base alone; a rank may have none.
        pad: token id of padding.
        eos: token id that ends a row.
        ranks: all ranks run the same number of forward passes.
        advance: hears of progress.

    Returns:
        For each adapter, for each of its rows, the new token ids without end of sequence.
    """
    max_rows = MAX_ROWS
    while True:
        try:
            # Each batch has a shape of its own: compiling for it would take longer than running it.
            with uncompiled(host.model):
                settings = DecoderSettings(pad, eos, max_rows)
                return _generate(host, openings, settings, ranks, advance)
        except torch.OutOfMemoryError:
            if max_rows == 1 or ranks.size > 1:  # other ranks may have memory left
                raise
        # Only here, after the error, its frames no longer hold the cache.
        torch.cuda.empty_cache()
        max_rows = max(1, min(max_rows, sum(map(len, openings.values()))) // 2)


def _generate(
    host: AdapterHost,
    openings: Mapping[Name, Sequence[Opening]],
    settings: DecoderSettings,
    ranks: Ranks,
    advance: Advance,
) -> dict[Name, list[list[int]]]:
    total = sum(map(len, openings.values()))
    decoder = _decoder(host, openings, settings, ranks)
    found: dict[Name, list[list[int]]] = {name: [[]] * len(rows) for name, rows in openings.items()}
    for batch in decoder.batches:
        some = {name: [openings[name][i] for i in indices] for name, indices in batch.items()}
        new = iter(_write(decoder, some, settings.eos, ranks))
        for name, indices in batch.items():
            for i in indices:
                found[name][i] = next(new)
        advance(sum(map(len, batch.values())) / max(total, 1))
    return found


def _decoder(
    host: AdapterHost, openings: Openings, settings: DecoderSettings, ranks: Ranks
) -> Decoder:
    how = capture.capture_for(host.model.device)
    can_be_fixed = any(openings.values()) and ranks.size == 1 and allows_fixed_cache(host.model)
    if how is not None and can_be_fixed:
        return FixedCacheDecoder(host, openings, settings, how)
    return GrowingCacheDecoder(host, openings, settings, ranks)


def _write(decoder: Decoder, openings: Openings, eos: int, ranks: Ranks) -> list[list[int]]:
    """The new tokens of a batch, adapter after adapter."""
    if not any(openings.values()):
        # A rank without rows still takes part in the collectives of a sharded base.
        openings = {None: [Opening(np.array([eos], dtype=np.int32), 1)]}
    left = ranks.max(max(row.max_new_tokens for rows in openings.values() for row in rows))
    decoder.start(openings, left)
    while left:
        steps = min(left, decoder.steps_between_checks)
        decoder.advance(steps)
        left -= steps
        ended = decoder.ended() if left else []
        if not ranks.max(ended.count(False)):
            break
        decoder.drop(ended)
    return [_before_eos(ids, eos) for ids in decoder.written()]


def _before_eos(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
