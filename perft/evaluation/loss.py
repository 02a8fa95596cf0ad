"""Validation loss of many adapters at once, and the known prefix of each generated answer.

The forward pass over prompt and answer that gives the loss also gives the adapter's own choice at
every token of the answer. Up to the first that differs, these are what greedy generation writes, so
generation may begin there: an answer that equals the split's needs no generation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perft.forward import (
    AdapterBatch,
    AdapterLosses,
    BatchShape,
    TokenizedExample,
    base_loss,
    pack_choices,
    target_count,
)
from perft.injection import AdapterHost
from perft.models.compiling import uncompiled
from perft.ranks import Ranks

TOKENS_PER_FORWARD = 16_384
"""Most padded tokens of one evaluation forward pass, over all adapters; bounds its memory."""

Loss = Callable[[AdapterLosses], Tensor]
"""The sum of what counts of some rows' cross-entropies, nats."""

ShapedMicroBatch = tuple[BatchShape, Sequence[str]]
"""Adapters that share a forward pass, and the shape that it is padded to on each rank."""


def chunks_by_length(lengths: Sequence[int], copies: int, ranks: Ranks) -> list[list[int]]:
    """Splits rows into chunks of similar length, longest first.

    Args:
        lengths: tokens of each row.
        copies: number of adapters that see each row.
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
    """Indices of rows in `count` chunks, longest first; some are empty if rows are few."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [part.tolist() for part in np.array_split(np.array(order), count)] if count else []


@dataclass(frozen=True)
class Validated:
    """Results of a forward pass over the validation rows, by adapter.

    Attributes:
        loss: mean cross-entropy, nats per predicted token, over the rows of all ranks.
        known_prefix: for each row of this rank, the tokens that the adapter writes after the
            prompt, through the first that differs from the row's; more may follow.
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
    together: Sequence[ShapedMicroBatch] | None = None,
    losses: Mapping[str, Loss] = MappingProxyType({}),
) -> Validated:
    """Runs every adapter over all rows.

    Args:
        host: the base with the adapters on it.
        names: the adapters.
        rows: token rows, at least one per rank; every adapter sees all of them.
        pad: token id of padding.
        ranks: the rows are shared among them.
        together: groups of adapters that share a forward pass, and its fixed shape; None for one
            group without padding to a shape.
        losses: what counts of an adapter's cross-entropies; all of them unless it is named here.
    """
    totals = {name: torch.zeros((), dtype=torch.float64, device="cpu") for name in names}
    known_prefix: dict[str, dict[int, list[int]]] = {name: {} for name in names}
    for some, shape, chunk in passes_over(names, [len(ids) for ids, _ in rows], ranks, together):
        mine = chunk[ranks.local_slice(len(chunk))]
        parts = dict.fromkeys(some, AdapterBatch([rows[i] for i in mine]))
        found, choices = pack_choices(host, pad, parts, shape)
        for name in some:
            loss = losses.get(name, _every_token)(found.of(name))
            totals[name] += loss.double().cpu()
            for i, tokens in zip(mine, choices[name], strict=True):
                known_prefix[name][i] = _known_prefix(tokens.numpy(), rows[i])
    on_device = {name: total.to(ranks.device) for name, total in totals.items()}
    ranks.all_reduce_(list(on_device.values()))
    targets = sum(target_count(row) for row in rows)
    return Validated(
        {name: float(total) / targets for name, total in on_device.items()}, known_prefix
    )


@torch.no_grad()
def validate_base(
    host: AdapterHost, rows: Sequence[TokenizedExample], pad: int, ranks: Ranks
) -> float:
    """Runs the base alone over all rows, once in a search: too seldom to compile for their shapes.

    Args:
        host: the base.
        rows: token rows, at least one per rank.
        pad: token id of padding.
        ranks: the rows are shared among them.

    Returns:
        The mean cross-entropy, nats per predicted token, over the rows of all ranks.
    """
    total = torch.zeros((), dtype=torch.float64, device="cpu")
    with uncompiled(host.model):
        for chunk in chunks_by_length([len(ids) for ids, _ in rows], 1, ranks):
            mine = chunk[ranks.local_slice(len(chunk))]
            total += base_loss(host, pad, [rows[i] for i in mine]).double().cpu()
    on_device = total.to(ranks.device)
    ranks.all_reduce_([on_device])
    return float(on_device) / sum(map(target_count, rows))


def passes_over(
    names: Sequence[str],
    lengths: Sequence[int],
    ranks: Ranks,
    together: Sequence[ShapedMicroBatch] | None,
    *,
    pairs: bool = False,
) -> Iterator[tuple[Sequence[str], BatchShape | None, list[int]]]:
    """The adapters, the shape and the examples of each forward pass.

    Args:
        names: the adapters.
        lengths: tokens of each example, of a pair those of the longer answer.
        ranks: the examples are shared among them.
        together: as `validate`.
        pairs: whether an example is two rows, which the base alone sees, too.
    """
    rows = 1 + pairs
    if together is None:
        for chunk in chunks_by_length(lengths, rows * (len(names) + pairs), ranks):
            yield names, None, chunk
        return
    for shape, some in together:
        each = shape.rows // (shape.adapters + shape.references) // rows * ranks.size
        for chunk in split_by_length(lengths, -(-len(lengths) // each)):
            yield some, shape, chunk


def _every_token(found: AdapterLosses) -> Tensor:
    return found.total()


def _known_prefix(choices: npt.NDArray[np.int64], row: TokenizedExample) -> list[int]:
    ids, _ = row
    differs = np.flatnonzero(choices != ids[len(ids) - len(choices) :])
    known: list[int] = choices[: differs[0] + 1 if len(differs) else None].tolist()
    return known
