"""What both ways of decoding share: what a row is continued from, and what a decoder does.

Shapes: B rows, S tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from perft.evaluation.loss import TOKENS_PER_FORWARD
from perft.injection import AdapterHost, rows_of
from perft.models.kv_cache import cache_size

Ids = npt.NDArray[np.int32]

Batch = Mapping[Any, Sequence[int]]
"""By adapter, the numbers of the rows that are written together."""


@dataclass(frozen=True)
class Opening:
    """What one row is continued from.

    Attributes:
        ids: the prompt's token ids, and those of its answer that are known.
        max_new_tokens: new tokens that may follow, at least one.
    """

    ids: Ids
    max_new_tokens: int

    @property
    def length(self) -> int:
        """Tokens of the row when it has no room left."""
        return len(self.ids) + self.max_new_tokens


Openings = Mapping[Any, Sequence[Opening]]
"""Rows by adapter, where None is the base alone."""


@dataclass(frozen=True)
class DecoderSettings:
    """What every decoder is told.

    Attributes:
        pad: token id of padding.
        eos: token id that ends a row.
        most_rows: rows that a batch may have.
    """

    pad: int
    eos: int
    most_rows: int


STEPS_BETWEEN_CHECKS = 16
"""On a GPU, where every question waits for all that the device has been given to do."""


class Decoder(Protocol):
    """Writes batches of rows, one after the other.

    Attributes:
        batches: all rows that are to be written; as many batches on every rank.
        steps_between_checks: steps between two questions whether rows have ended.
    """

    batches: list[Batch]
    steps_between_checks: int

    def start(self, openings: Openings, new_tokens: int) -> None:
        """Takes up a batch, at least one row, that may get so many tokens."""

    def advance(self, steps: int) -> None:
        """Writes the next tokens of every row; rows that have ended get no others than eos."""

    def ended(self) -> list[bool]:
        """Which rows of the pass have ended. Waits for the device."""

    def drop(self, ended: Sequence[bool]) -> None:
        """Lets rows that have ended go, where that is worth it."""

    def written(self) -> list[list[int]]:
        """The new tokens of the batch's rows, eos from a row's end on."""


def rows_at_once(host: AdapterHost, length: int, share: float, most: int) -> int:
    """Rows that are written at a time: on a GPU as many as its free memory holds.

    Args:
        host: the base; on several ranks all ask together.
        length: tokens of the longest row.
        share: of the free memory, for the cache.
        most: rows that there may be.
    """
    device = host.model.device
    if device.type != "cuda":
        return max(1, min(most, TOKENS_PER_FORWARD // length))
    with host.using(rows_of({None: 1})):
        size = cache_size(host.model)
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has taken from the device and does not use is free, too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(most, int(share * free) // size.of_row(length)))


def longest(openings: Openings) -> int:
    """Tokens of the longest row when it has no room left; 1 if there is none."""
    return max((row.length for rows in openings.values() for row in rows), default=1)


def padded(rows: Sequence[Ids], length: int, pad: int, *, left: bool) -> npt.NDArray[np.int64]:
    """Rows as one array (B, length), padded on the left or right."""
    ids_BS = np.full((len(rows), length), pad, dtype=np.int64)
    for ids_S, row in zip(ids_BS, rows, strict=True):
        ids_S[slice(length - len(row), None) if left else slice(len(row))] = row
    return ids_BS
