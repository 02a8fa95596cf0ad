"""Fixed shapes of micro-batches: they look the same to the base whoever shares them.

In bf16, and wherever kernels are chosen by shape, a result's last bits depend on the shape of the
pass. So every micro-batch of a kind of trial has room for equally many trials, rows of one length,
and equally many predictions; rows of no adapter fill what is not taken. A trial then repeats bit
for bit whoever its neighbours are, in whichever group, and alone (docs/faults.md). Compiling and
capturing want few shapes as well.
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
"""Lengths of micro-batches are multiples of it: what matrix products on every device like."""

_EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class RowCapacity:
    """What each row of a kind of trial is given room for.

    Attributes:
        length: tokens.
        predictions: tokens with loss.
    """

    length: int
    predictions: int


class TrialShape(NamedTuple):
    """What the shape of a trial's micro-batches follows from.

    Attributes:
        rows: of the trial's batch, over all ranks.
        capacity: of each row.
        pairs: whether rows belong together by twos, so that a pair has one rank.
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
        """Whether the loss of each row is wanted, and not of all together alone."""
        return self.pairs or self.referenced

    def rows_on(self, ranks: Ranks) -> int:
        """The most rows of the batch that a rank has."""
        together = 1 + self.pairs
        return -(-self.rows // (together * ranks.size)) * together


def row_capacity(rows: TokenizedSplit) -> RowCapacity:
    """Room for each of the rows, their longest rounded up."""
    predictions = np.maximum(0, rows.lengths - np.maximum(rows.prompt_lengths, 1))
    longest = int(rows.lengths.max())
    return RowCapacity(-(-longest // LENGTH_STEP) * LENGTH_STEP, int(predictions.max()))


def are_fixed(device: torch.device, dtype: torch.dtype, *, compiled: bool) -> bool:
    """Whether micro-batches have fixed shapes.

    On a CPU in fp32 they take the rows as they are, which is faster; trials then agree with those
    in other packs to 1e-5.

    Args:
        device: of the base.
        dtype: of the base.
        compiled: whether the base is compiled, for each shape once.
    """
    return compiled or device.type != "cpu" or dtype not in _EXACT


@dataclass(frozen=True)
class FixedShapes:
    """The shapes of a pack's micro-batches.

    Attributes:
        slots: trials that are trained together at most; no pass has room for more.
        tokens: of one pass on each rank, at most, where it holds several trials.
        vocabulary: the base's.
        ranks: the processes that share each batch.
    """

    slots: int
    tokens: int
    vocabulary: int
    ranks: Ranks

    def trials(self, kind: TrialShape) -> int:
        """Trials of a kind that a micro-batch has room for."""
        return max(1, min(self.slots, self.tokens * self.ranks.size // kind.tokens))

    def of(self, kind: TrialShape) -> BatchShape:
        """The shape of a micro-batch of trials of a kind, on each rank."""
        capacity, trials, each = kind.capacity, self.trials(kind), kind.rows_on(self.ranks)
        at_once = predictions_at_once(self.vocabulary)
        wanted = kind.copies * trials * each * capacity.predictions
        # The head takes so many predictions at a time: the last time as many as the first.
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
        """Which trials go through the base together, longest rows first, and in which shape.

        Args:
            kinds: the kind of each trial; only those of one share a micro-batch.
            apart: by trial, the company with which alone it shares micro-batches; the others share
                theirs.
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
