"""Batched greedy generation with a KV cache, for the rows of many adapters at once."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from perft.evaluation.decoding import Decoder, Opening, Openings
from perft.evaluation.fixed import Fixed
from perft.evaluation.growing import Growing
from perft.injection import AdapterHost
from perft.models import capture
from perft.models.kv_cache import allows_fixed_cache
from perft.ranks import Ranks

Name = TypeVar("Name", str, str | None)


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

    Rows go in batches, as many at a time as memory holds; that changes no row.

    Args:
        host: the base with the adapters on it.
        openings: rows by adapter, where None is the base alone; on some rank there may be none.
        pad: token id of padding.
        eos: token id that ends a row.
        ranks: all ranks run the same number of forward passes.

    Returns:
        For each adapter, for each of its rows, the new token ids without end of sequence.
    """
    decoder = _decoder(host, openings, pad, eos, ranks)
    found: dict[Name, list[list[int]]] = {name: [[]] * len(rows) for name, rows in openings.items()}
    for batch in decoder.batches:
        some = {name: [openings[name][i] for i in indices] for name, indices in batch.items()}
        new = iter(_write(decoder, some, eos, ranks))
        for name, indices in batch.items():
            for i in indices:
                found[name][i] = next(new)
    return found


def _decoder(host: AdapterHost, openings: Openings, pad: int, eos: int, ranks: Ranks) -> Decoder:
    how = capture.capture_for(host.model.device)
    if (
        how is not None
        and ranks.size == 1
        and any(openings.values())
        and allows_fixed_cache(host.model)
    ):
        return Fixed(host, openings, pad=pad, eos=eos, capture=how)
    return Growing(host, openings, pad=pad, eos=eos, ranks=ranks)


def _write(decoder: Decoder, openings: Openings, eos: int, ranks: Ranks) -> list[list[int]]:
    """The new tokens of a batch, adapter after adapter."""
    if not any(openings.values()):
        # A rank without rows still takes part in the collectives of a sharded base.
        openings = {None: [Opening(np.array([eos], dtype=np.int32), 1)]}
    left = ranks.most(max(row.room for rows in openings.values() for row in rows))
    decoder.start(openings, left)
    while left:
        steps = min(left, decoder.steps_between_checks)
        decoder.advance(steps)
        left -= steps
        ended = decoder.ended() if left else []
        if not ranks.most(ended.count(False)):
            break
        decoder.drop(ended)
    return [_until(ids, eos) for ids in decoder.written()]


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
