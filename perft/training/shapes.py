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
class RowRoom:
    """What each row of a kind of trial is given room for.

    Attributes:
        length: tokens.
        predictions: tokens with loss.
    """

    length: int
    predictions: int


Kind = tuple[int, RowRoom]
"""Rows of a trial's batch over all ranks, and the room of each."""


def room_for(rows: TokenizedSplit) -> RowRoom:
    """Room for each of the rows, their longest rounded up."""
    predictions = np.maximum(0, rows.lengths - np.maximum(rows.prompt_lengths, 1))
    longest = int(rows.lengths.max())
    return RowRoom(-(-longest // LENGTH_STEP) * LENGTH_STEP, int(predictions.max()))


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

    def trials(self, kind: Kind) -> int:
        """Trials of a kind that a micro-batch has room for."""
        rows, room = kind
        return max(1, min(self.slots, self.tokens * self.ranks.size // (rows * room.length)))

    def of(self, kind: Kind) -> BatchShape:
        """The shape of a micro-batch of trials of a kind, on each rank."""
        rows, room = kind
        trials, each = self.trials(kind), -(-rows // self.ranks.size)
        at_once = predictions_at_once(self.vocabulary)
        wanted = trials * each * room.predictions
        # The head takes so many predictions at a time: the last time as many as the first.
        whole = wanted if wanted <= at_once else -(-wanted // at_once) * at_once
        return BatchShape(trials * each, room.length, trials, each * room.predictions, whole)

    def microbatches(
        self, kinds: Mapping[str, Kind], apart: Mapping[str, str] = MappingProxyType({})
    ) -> list[tuple[BatchShape, list[str]]]:
        """Which trials go through the base together, longest rows first, and in which shape.

        Args:
            kinds: the kind of each trial; only those of one share a micro-batch.
            apart: by trial, the company with which alone it shares micro-batches; the others share
                theirs.
        """
        alike: dict[tuple[str, Kind], list[str]] = {}
        for name, kind in kinds.items():
            alike.setdefault((apart.get(name, ""), kind), []).append(name)
        found = []
        for (_, kind), names in sorted(alike.items(), key=_order):
            room = self.trials(kind)
            found += [(self.of(kind), names[i : i + room]) for i in range(0, len(names), room)]
        return found


def _order(alike: tuple[tuple[str, Kind], list[str]]) -> tuple[str, int, int, int]:
    (company, (rows, room)), _ = alike
    return company, -room.length, rows, room.predictions
