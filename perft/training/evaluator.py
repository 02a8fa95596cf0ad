"""What a pack's trials are measured by: their loss and their answers on a task's splits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perft.evaluation import (
    Prediction,
    Together,
    Validated,
    count_correct,
    predict,
    validate,
)
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.training.data import TokenizedTask
from perft.training.shapes import FixedShapes, RowRoom, room_for
from perft.training.step import apart_from_others

ROWS_AT_A_TIME = 16
"""Examples of one trial in a micro-batch of a fixed shape, on each rank."""

Measured = tuple[float, int, int]
"""Validation loss (nats per answer token), examples answered right, and examples scored."""


@dataclass(frozen=True)
class Evaluator:
    """Measures trials together.

    Attributes:
        host: the base with the trials' adapters on it.
        rows: the task as token rows.
        ranks: the examples are shared among them.
        fixed: gives the shapes of micro-batches; None where these take the rows as they are.
    """

    host: AdapterHost
    rows: TokenizedTask
    ranks: Ranks
    fixed: Callable[[], FixedShapes | None]

    def validate(
        self, lengths: Mapping[str, int], examples: int, *, scored: bool = True
    ) -> dict[str, Measured]:
        """Measures trials on the first validation examples.

        Args:
            lengths: by trial, tokens at which its rows are cut.
            examples: how many examples, at least one per rank.
            scored: whether their answers are generated and counted, which takes longest.
        """
        split = self.rows.task.validation
        losses: dict[str, float] = {}
        known_prefix: dict[str, dict[int, list[int]]] = {}
        for length in dict.fromkeys(lengths.values()):
            same = [name for name in lengths if lengths[name] == length]
            found = self._read(same, length, examples)
            losses |= found.loss
            known_prefix |= found.known_prefix
        if not (lengths and scored and split.scorer.generates):
            return {name: (losses[name], 0, 0) for name in lengths}
        correct = count_correct(self.predict(list(lengths), split, known_prefix), self.ranks)
        return {name: (losses[name], correct[name], examples) for name in lengths}

    def predict(
        self,
        names: Sequence[str],
        split: Split,
        known_prefix: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
    ) -> dict[str, list[Prediction]]:
        """`perft.evaluation.predict` on a split of the task."""
        return predict(
            self.host,
            names,
            split,
            prompts=self.rows.prompts(split),
            tokenizer=self.rows.tokenizer,
            ranks=self.ranks,
            known_prefix=known_prefix,
        )

    def _read(self, names: Sequence[str], max_length: int, examples: int) -> Validated:
        pad: int = self.rows.tokenizer.pad_token_id
        tokens = self.rows.validation(max_length)
        prompts = self.rows.prompts(self.rows.task.validation)
        rows = [tokens.row(i) for i in range(examples)]
        together = self._together(names, room_for(tokens))
        found = validate(self.host, names, rows, pad, self.ranks, together=together)
        # Where a prompt was cut, generation's is longer, and nothing is known of its answer.
        cut = {
            i
            for i, (ids, prompt) in enumerate(rows)
            if not np.array_equal(ids[:prompt], prompts.row(i)[0])
        }
        for known in found.known_prefix.values():
            known.update({i: [] for i in cut & known.keys()})
        return found

    def _together(self, names: Sequence[str], room: RowRoom) -> list[Together] | None:
        """The micro-batches of trials whose rows all have the same room."""
        if (fixed := self.fixed()) is None:
            return None
        kind = (ROWS_AT_A_TIME * self.ranks.size, room)
        return list(
            fixed.microbatches(dict.fromkeys(names, kind), apart_from_others(self.host, names))
        )
