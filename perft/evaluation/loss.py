"""Validation loss of many adapters at once, and how far each of them would write the answers.

The pass over prompt and answer that gives the loss also tells, at every token of the answer, which
one the adapter would put there itself. Up to the first that differs this is what greedy generation
writes, so generation may begin there: where an adapter gives the answer as it stands in the split,
there is nothing left to generate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from perft.forward import AdapterBatch, BatchShape, TokenizedExample, pack_choices, target_count
from perft.injection import AdapterHost
from perft.ranks import Ranks

TOKENS_PER_FORWARD = 16_384
"""Padded tokens of one evaluation forward pass, over all adapters; bounds its memory."""

Together = tuple[BatchShape, Sequence[str]]
"""Adapters that share a pass, and what it is filled up to on each rank."""


def chunks_by_length(lengths: Sequence[int], copies: int, ranks: Ranks) -> list[list[int]]:
    """Splits rows into chunks of similar length, longest first.

    Args:
        lengths: tokens of each row.
        copies: how many adapters see each row.
        ranks: every chunk has a row for every rank where there are enough rows.

    Returns:
        Indices of the rows of each chunk.
    """
    rows = max(ranks.size, TOKENS_PER_FORWARD // (copies * max(lengths)))
    count = max(1, -(-len(lengths) // rows))
    if len(lengths) // count < ranks.size:
        count = max(1, len(lengths) // ranks.size)
    return split_by_length(lengths, count)


def split_by_length(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Indices of rows in `count` chunks, longest first; of few rows some are empty."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [part.tolist() for part in np.array_split(np.array(order), count)] if count else []


@dataclass(frozen=True)
class Validated:
    """What a pass over the validation rows tells of each adapter.

    Attributes:
        loss: mean cross-entropy, nats per predicted token, over the rows of all ranks.
        known_prefix: by row, of those that this rank had: the tokens that the adapter writes after
            the prompt, up to and with the first that is not the row's; more may follow.
    """

    loss: dict[str, float]
    known_prefix: dict[str, dict[int, list[int]]]


def validate(
    host: AdapterHost,
    names: Sequence[str],
    rows: Sequence[TokenizedExample],
    pad: int,
    ranks: Ranks,
    *,
    together: Sequence[Together] | None = None,
) -> Validated:
    """Runs every adapter over all rows.

    Args:
        host: the base with the adapters on it.
        names: the adapters.
        rows: token rows, at least one per rank; every adapter sees all of them.
        pad: token id of padding.
        ranks: the rows are shared among them.
        together: which adapters go through the base together, in which fixed shape; None for all
            of them, with the rows as they are.
    """
    totals = {name: torch.zeros((), dtype=torch.float64, device="cpu") for name in names}
    known_prefix: dict[str, dict[int, list[int]]] = {name: {} for name in names}
    for some, shape, chunk in _passes(names, [len(ids) for ids, _ in rows], ranks, together):
        mine = chunk[ranks.local_slice(len(chunk))]
        parts = dict.fromkeys(some, AdapterBatch([rows[i] for i in mine]))
        for name, (loss, choices) in pack_choices(host, pad, parts, shape).items():
            totals[name] += loss.double().cpu()
            for i, tokens in zip(mine, choices, strict=True):
                known_prefix[name][i] = _known_prefix(tokens.numpy(), rows[i])
    on_device = {name: total.to(ranks.device) for name, total in totals.items()}
    ranks.all_reduce_(list(on_device.values()))
    targets = sum(target_count(row) for row in rows)
    return Validated(
        {name: float(total) / targets for name, total in on_device.items()}, known_prefix
    )


def _passes(
    names: Sequence[str],
    lengths: Sequence[int],
    ranks: Ranks,
    together: Sequence[Together] | None,
) -> Iterator[tuple[Sequence[str], BatchShape | None, list[int]]]:
    """The adapters of each pass, what it is filled up to, and the rows that they see."""
    if together is None:
        for chunk in chunks_by_length(lengths, len(names), ranks):
            yield names, None, chunk
        return
    for shape, some in together:
        each = shape.rows // shape.adapters * ranks.size
        for chunk in split_by_length(lengths, -(-len(lengths) // each)):
            yield some, shape, chunk


def _known_prefix(choices: npt.NDArray[np.int64], row: TokenizedExample) -> list[int]:
    ids, _ = row
    differs = np.flatnonzero(choices != ids[len(ids) - len(choices) :])
    known: list[int] = choices[: differs[0] + 1 if len(differs) else None].tolist()
    return known
