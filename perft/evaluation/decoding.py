"""What both decoders share: the rows to continue, and the interface of a decoder.

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
    """The beginning of one row, from which it is continued.

    Attributes:
        ids: token ids of the prompt and of the known beginning of its answer.
        max_new_tokens: new tokens that may follow, at least one.
    """

    ids: Ids
    max_new_tokens: int

    @property
    def length(self) -> int:
        """Tokens of the row at its longest."""
        return len(self.ids) + self.max_new_tokens


Openings = Mapping[Any, Sequence[Opening]]
"""Rows by adapter, where None is the base alone."""


@dataclass(frozen=True)
class DecoderSettings:
    """Settings of every decoder.

    Attributes:
        pad: token id of padding.
        eos: token id that ends a row.
        max_rows: most rows of a batch.
    """

    pad: int
    eos: int
    max_rows: int


STEPS_BETWEEN_CHECKS = 16
"""On a GPU, where each check waits for the device to finish its queue."""


class Decoder(Protocol):
    """Writes batches of rows, one after the other.

    Attributes:
        batches: all rows to write; every rank has equally many batches.
        steps_between_checks: steps between two checks for ended rows.
    """

    batches: list[Batch]
    steps_between_checks: int

    def start(self, openings: Openings, new_tokens: int) -> None:
        """Begins a batch of at least one row, which may get up to `new_tokens` tokens."""

    def advance(self, steps: int) -> None:
        """Writes the next tokens of every row; ended rows get only eos."""

    def ended(self) -> list[bool]:
        """Which rows of the pass have ended. Waits for the device."""

    def drop(self, ended: Sequence[bool]) -> None:
        """Drops ended rows where that pays."""

    def written(self) -> list[list[int]]:
        """The new tokens of the batch's rows, padded with eos."""


def rows_at_once(host: AdapterHost, length: int, share: float, most: int) -> int:
    """Rows to write at a time: on a GPU as many as its free memory holds.

    Args:
        host: the base; on several ranks, all call this together.
        length: tokens of the longest row.
        share: share of the free memory that the cache may take.
        most: upper limit.
    """
    device = host.model.device
    if device.type != "cuda":
        return max(1, min(most, TOKENS_PER_FORWARD // length))
    with host.using(rows_of({None: 1})):
        size = cache_size(host.model)
    free, _ = torch.cuda.mem_get_info(device)
    # Memory that torch has reserved and does not use is free, too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(most, int(share * free) // size.of_row(length)))


def longest(openings: Openings) -> int:
    """Tokens of the longest row at its longest; 1 if there is no row."""
    return max((row.length for rows in openings.values() for row in rows), default=1)


def padded(rows: Sequence[Ids], length: int, pad: int, *, left: bool) -> npt.NDArray[np.int64]:
    """Rows as one array (B, length), padded on the left or right."""
    ids_BS = np.full((len(rows), length), pad, dtype=np.int64)
    for ids_S, row in zip(ids_BS, rows, strict=True):
        ids_S[slice(length - len(row), None) if left else slice(len(row))] = row
    return ids_BS
