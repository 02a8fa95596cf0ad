"""Fixed shapes of micro-batches, independent of the trials that share them.

In bf16, and wherever kernels are chosen by shape, a result's last bits depend on the shape of the
forward pass. So trials of one `TrialShape` have micro-batches of one shape: the same number of
trials, row length and number of predictions, filled up with rows of no adapter. A trial then
repeats bit for bit with any neighbours, in any group, and alone (docs/faults.md). Compilation and
capture need few shapes, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from perft.forward import BatchShape
from perft.models.head import predictions_at_once
from perft.ranks import Ranks
from perft.tasks.tokenize import TokenizedSplit

LENGTH_STEP = 16
"""Lengths of micro-batches are multiples of this, which suits matrix products on every device."""

_EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class RowCapacity:
    """The largest row that a micro-batch of fixed shape takes.

    Attributes:
        length: tokens.
        predictions: tokens with loss.
    """

    length: int
    predictions: int


class TrialShape(NamedTuple):
    """The properties of a trial that decide the shape of its micro-batches.

    Attributes:
        rows: of the trial's batch, over all ranks.
        capacity: of each row.
        pairs: whether every two rows are a pair, which one rank gets.
        referenced: whether the rows also go through the base without the adapter.
    """

    rows: int
    capacity: RowCapacity
    pairs: bool = False
    referenced: bool = False

    @property
    def copies(self) -> int:
        """How often each row goes through the base."""
        return 1 + self.referenced

    @property
    def tokens(self) -> int:
        """Padded tokens of all rows, over all ranks."""
        return self.rows * self.copies * self.capacity.length

    @property
    def by_row(self) -> bool:
        """Whether the objective needs the loss of each row, not only their sum."""
        return self.pairs or self.referenced

    def rows_on(self, ranks: Ranks) -> int:
        """The largest number of the batch's rows on a rank."""
        together = 1 + self.pairs
        return -(-self.rows // (together * ranks.size)) * together


def row_capacity(rows: TokenizedSplit) -> RowCapacity:
    """The capacity for the largest of the rows, its length rounded up."""
    predictions = np.maximum(0, rows.lengths - np.maximum(rows.prompt_lengths, 1))
    longest = int(rows.lengths.max())
    return RowCapacity(-(-longest // LENGTH_STEP) * LENGTH_STEP, int(predictions.max()))


def are_fixed(device: torch.device, dtype: torch.dtype, *, compiled: bool) -> bool:
    """Whether micro-batches have fixed shapes.

    On a CPU in fp32 they take the rows unfilled, which is faster; results in different packs then
    agree to 1e-5.

    Args:
        device: of the base.
        dtype: of the base.
        compiled: whether the base is compiled, once for each shape.
    """
    return compiled or device.type != "cpu" or dtype not in _EXACT


@dataclass(frozen=True)
class FixedShapes:
    """The shapes of a pack's micro-batches.

    Attributes:
        slots: largest number of trials in the pack, and in a micro-batch.
        tokens: largest number of tokens on each rank in a micro-batch of several trials.
        vocabulary: the base's.
        ranks: the processes that share each batch.
    """

    slots: int
    tokens: int
    vocabulary: int
    ranks: Ranks

    def trials(self, kind: TrialShape) -> int:
        """How many trials of that shape a micro-batch holds."""
        return max(1, min(self.slots, self.tokens * self.ranks.size // kind.tokens))

    def of(self, kind: TrialShape) -> BatchShape:
        """The shape of a micro-batch, on each rank, of trials of that shape."""
        capacity, trials, each = kind.capacity, self.trials(kind), kind.rows_on(self.ranks)
        at_once = predictions_at_once(self.vocabulary)
        wanted = kind.copies * trials * each * capacity.predictions
        # The head takes `at_once` predictions at a time, the last time too.
        whole = wanted if wanted <= at_once else -(-wanted // at_once) * at_once
        return BatchShape(
            rows=kind.copies * trials * each,
            length=capacity.length,
            adapters=trials,
            predictions=each * capacity.predictions,
            whole=whole,
            row_predictions=capacity.predictions if kind.by_row else 0,
            references=trials if kind.referenced else 0,
        )

    def microbatches(
        self, kinds: Mapping[str, TrialShape], apart: Mapping[str, str] = MappingProxyType({})
    ) -> list[tuple[BatchShape, list[str]]]:
        """Which trials share a micro-batch, longest rows first, and its shape.

        Args:
            kinds: the shape of each trial; only trials of the same shape share a micro-batch.
            apart: by trial, its sharing group; only trials of the same group, or without one, share
                a micro-batch.
        """
        alike: dict[tuple[str, TrialShape], list[str]] = {}
        for name, kind in kinds.items():
            alike.setdefault((apart.get(name, ""), kind), []).append(name)
        found = []
        for (_, kind), names in sorted(alike.items(), key=_order):
            per_batch = self.trials(kind)
            found += [
                (self.of(kind), names[i : i + per_batch]) for i in range(0, len(names), per_batch)
            ]
        return found


def _order(
    alike: tuple[tuple[str, TrialShape], list[str]],
) -> tuple[str, int, int, int, bool, bool]:
    (group, kind), _ = alike
    rows, capacity, pairs, referenced = kind
    return group, -capacity.length, rows, capacity.predictions, pairs, referenced
