"""Fixed shapes of passes: what goes through the base looks the same whoever shares the pass.

In bf16, and wherever kernels are chosen by shape, a result's last bits depend on the shape of the
pass. So every pass of a kind of trial has room for equally many trials, rows of one length, and
equally many predictions; rows of no adapter fill what is not taken. A trial then repeats bit for
bit whoever its neighbours are, in whichever group, and alone (docs/faults.md). Compiling and
capturing want few shapes as well.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from perft.forward import BatchShape
from perft.models.head import predictions_at_once
from perft.ranks import Ranks
from perft.tasks.tokenize import TokenRows
from perft.training.passes import Shape

LENGTH_STEP = 16
"""Lengths of passes are multiples of it: what matrix products on every device like."""

TOKENS_PER_PASS = 16_384
"""Tokens of a pass on which a GPU is well occupied; more of them cost memory, and more rows of no
adapter when trials end."""


@dataclass(frozen=True)
class RowRoom:
    """What each row of a kind of trial is given room for.

    Attributes:
        length: tokens.
        predictions: tokens with loss.
    """

    length: int
    predictions: int


def room_for(rows: TokenRows) -> RowRoom:
    """Room for each of the rows, with their length rounded up."""
    predictions = np.maximum(0, rows.lengths - np.maximum(rows.prompt_lengths, 1))
    longest = int(rows.lengths.max())
    return RowRoom(-(-longest // LENGTH_STEP) * LENGTH_STEP, int(predictions.max()))


@dataclass(frozen=True)
class FixedShapes:
    """The shapes of a pack's passes.

    Attributes:
        trials: trials that a pass has room for.
        vocabulary: the base's, in tokens.
        ranks: the processes that share each batch.
    """

    trials: int
    vocabulary: int
    ranks: Ranks

    def of(self, rows: int, room: RowRoom) -> BatchShape:
        """The shape of a pass on each rank.

        Args:
            rows: of each trial's batch, over all ranks.
            room: of each row.
        """
        mine = self.trials * -(-rows // self.ranks.size)
        at_once = predictions_at_once(self.vocabulary)
        wanted = mine * room.predictions
        # The head works on so many predictions at a time, the last time on as many.
        whole = wanted if wanted <= at_once else -(-wanted // at_once) * at_once
        return BatchShape(mine, room.length, whole)

    def passes(
        self, kinds: Mapping[str, tuple[int, RowRoom]], apart: Set[str] = frozenset()
    ) -> list[list[str]]:
        """Which trials go through the base together, longest rows first.

        Args:
            kinds: rows of each trial's batch, and their room; only equal ones share a pass.
            apart: trials that share passes among themselves alone.
        """
        by_kind: dict[tuple[bool, int, RowRoom], list[str]] = {}
        for name, (rows, room) in kinds.items():
            by_kind.setdefault((name in apart, rows, room), []).append(name)
        order = sorted(by_kind, key=lambda kind: (kind[0], -kind[2].length, kind[1]))
        return [part for kind in order for part in split(by_kind[kind], self.trials)]


def split(names: Sequence[str], count: int) -> list[list[str]]:
    """Parts of `count` names, the last of what is left."""
    return [list(names[i : i + count]) for i in range(0, len(names), count)]


def trials_per_pass(shape: Shape, slots: int, tokens: int = TOKENS_PER_PASS) -> int:
    """Trials of a shape that a pass should have room for.

    Args:
        shape: rows of a trial's batch, and tokens of each.
        slots: trials that are trained at a time at most.
        tokens: of a pass.
    """
    rows, length = shape
    return max(1, min(slots, tokens // (rows * length)))
