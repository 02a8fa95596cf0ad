"""Evaluates a pack's trials: their loss and their answers on a task's splits.

The loss is that of a trial's objective, on the rows that it reads; the accuracy is that of the
task's scorer. So trials with different objectives on one task have the same accuracy measure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from perft.config import TrainingConfig
from perft.evaluation import (
    Prediction,
    ShapedMicroBatch,
    Validated,
    compare,
    count_correct,
    predict,
    preferred,
    validate,
    validate_base,
)
from perft.evaluation.preference import margins
from perft.forward import AdapterLosses
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.tokenize import TokenizedSplit
from perft.training.data import TokenizedTask
from perft.training.objective import objective_of
from perft.training.shapes import FixedShapes, RowCapacity, TrialShape, row_capacity
from perft.training.step import sharing_groups

ROWS_AT_A_TIME = 16
"""Rows of one trial in a micro-batch of a fixed shape, on each rank."""

KnownPrefixes = Mapping[str, Mapping[int, Sequence[int]]]
"""By trial and example, the tokens with which its answer is known to start."""


@dataclass(frozen=True)
class Measured:
    """A trial's results on validation examples.

    Attributes:
        loss: nats per unit of the trial's objective.
        correct: examples answered correctly.
        scored: examples that were scored.
        others: other metrics of the objective, by name.
    """

    loss: float
    correct: int = 0
    scored: int = 0
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates trials together.

    Attributes:
        host: the base with the trials' adapters on it.
        rows: the task's token rows.
        ranks: the processes that share the examples.
        fixed: returns the shapes of micro-batches; None if they have no fixed shapes.
    """

    host: AdapterHost
    rows: TokenizedTask
    ranks: Ranks
    fixed: Callable[[], FixedShapes | None]

    def validate(
        self, trials: Mapping[str, TrainingConfig], examples: int, *, scored: bool = True
    ) -> dict[str, Measured]:
        """Evaluates trials on the first validation examples.

        Args:
            trials: training configuration of each.
            examples: number of examples, at least one per rank.
            scored: whether to score examples if that takes forward passes of its own.
        """
        measured: dict[str, Measured] = {}
        known_prefix: dict[str, Mapping[int, Sequence[int]]] = {}
        pairs: dict[str, AdapterLosses] = {}
        for (length, reads_pairs), some in _alike(trials).items():
            if reads_pairs:
                pairs |= self._compare(list(some), self.rows.task.validation, length, examples)
                measured |= {name: _of_pairs(some[name], pairs[name], examples) for name in some}
            else:
                found = self._read(some, length, examples)
                measured |= {name: Measured(found.loss[name]) for name in some}
                known_prefix |= found.known_prefix
        if self.rows.task.validation.scorer.compares_pairs:
            correct = self._preferring(trials, examples, pairs, scored=scored)
        else:
            correct = self._answering(trials, examples, known_prefix) if scored else {}
        for name, right in correct.items():
            measured[name] = replace(measured[name], correct=right, scored=examples)
        return measured

    def losses(self, names: Sequence[str], rows: TokenizedSplit) -> dict[str, float]:
        """The mean cross-entropy of trials on rows, nats per predicted token."""
        found = validate(
            self.host,
            names,
            [rows.row(i) for i in range(len(rows))],
            self._pad,
            self.ranks,
            together=self._together(names, row_capacity(rows)),
        )
        return found.loss

    def base_loss(self, rows: TokenizedSplit) -> float:
        """The same of the base alone."""
        each = [rows.row(i) for i in range(len(rows))]
        return validate_base(self.host, each, self._pad, self.ranks)

    def predict(
        self, names: Sequence[str], split: Split, known_prefix: KnownPrefixes | None = None
    ) -> dict[str, list[Prediction]]:
        """This rank's predictions on a split that has an accuracy, by trial.

        Args:
            names: the trials.
            split: of the task.
            known_prefix: as for `perft.evaluation.predict`, if answers are generated.
        """
        if split.scorer.compares_pairs:
            mine = self.ranks.local_slice(len(split.examples))
            found = self._compare(names, split, self.rows.positions, len(split.examples))
            return {name: preferred(split, losses)[mine] for name, losses in found.items()}
        return predict(
            self.host,
            names,
            split,
            prompts=self.rows.prompts(split),
            tokenizer=self.rows.tokenizer,
            ranks=self.ranks,
            known_prefix=known_prefix,
        )

    def _answering(
        self, trials: Mapping[str, TrainingConfig], examples: int, known_prefix: KnownPrefixes
    ) -> dict[str, int]:
        """By trial, correct generated answers; empty if the task generates none."""
        split = self.rows.task.validation
        if not (trials and split.scorer.generates):
            return {}
        mine = range(examples)[self.ranks.local_slice(examples)]
        nothing: Mapping[int, Sequence[int]] = dict.fromkeys(mine, ())
        known = {name: known_prefix.get(name, nothing) for name in trials}
        return count_correct(self.predict(list(trials), split, known), self.ranks)

    def _preferring(
        self,
        trials: Mapping[str, TrainingConfig],
        examples: int,
        pairs: Mapping[str, AdapterLosses],
        *,
        scored: bool,
    ) -> dict[str, int]:
        """By trial, pairs of which it prefers the chosen answer.

        Known for trials that were evaluated on untruncated pairs; others run on them if `scored`.
        """
        split = self.rows.task.validation
        whole = {
            name: found
            for name, found in pairs.items()
            if not self.rows.pairs(split, trials[name].max_length).truncated
        }
        if scored and (rest := [name for name in trials if name not in whole]):
            whole |= self._compare(rest, split, self.rows.positions, examples)
        return {name: int((margins(found) > 0).sum()) for name, found in whole.items()}

    def _compare(
        self, names: Sequence[str], split: Split, max_length: int, examples: int
    ) -> dict[str, AdapterLosses]:
        """The losses of trials on the first pairs of a split."""
        rows = self.rows.pairs(split, max_length)
        return compare(
            self.host,
            names,
            rows,
            pairs=examples,
            pad=self._pad,
            ranks=self.ranks,
            together=self._together(names, row_capacity(rows), pairs=True),
        )

    def _read(
        self, trials: Mapping[str, TrainingConfig], max_length: int, examples: int
    ) -> Validated:
        """The losses of trials on the first answers of the validation split."""
        tokens = self.rows.validation(max_length)
        prompts = self.rows.prompts(self.rows.task.validation)
        rows = [tokens.row(i) for i in range(examples)]
        found = validate(
            self.host,
            list(trials),
            rows,
            self._pad,
            self.ranks,
            together=self._together(list(trials), row_capacity(tokens)),
            losses={name: partial(_loss, training) for name, training in trials.items()},
        )
        # Where the prompt was cut, generation reads a longer one: its answer is not known.
        cut = {
            i
            for i, (ids, prompt) in enumerate(rows)
            if not np.array_equal(ids[:prompt], prompts.row(i)[0])
        }
        for known in found.known_prefix.values():
            known.update({i: [] for i in cut & known.keys()})
        return found

    @property
    def _pad(self) -> int:
        pad: Any = self.rows.tokenizer.pad_token_id
        assert isinstance(pad, int), "a loaded base has one"
        return pad

    def _together(
        self, names: Sequence[str], capacity: RowCapacity, *, pairs: bool = False
    ) -> list[ShapedMicroBatch] | None:
        """The micro-batches of trials whose rows all have the same capacity."""
        if (fixed := self.fixed()) is None:
            return None
        kind = TrialShape(ROWS_AT_A_TIME * self.ranks.size, capacity, pairs=pairs, referenced=pairs)
        return list(
            fixed.microbatches(dict.fromkeys(names, kind), sharing_groups(self.host, names))
        )


def _alike(
    trials: Mapping[str, TrainingConfig],
) -> dict[tuple[int, bool], dict[str, TrainingConfig]]:
    """Groups trials that read the same rows: by length, and by pairs or single answers."""
    alike: dict[tuple[int, bool], dict[str, TrainingConfig]] = {}
    for name, training in trials.items():
        key = training.max_length, objective_of(training).reads_pairs
        alike.setdefault(key, {})[name] = training
    return alike


def _of_pairs(training: TrainingConfig, found: AdapterLosses, pairs: int) -> Measured:
    loss = float(_loss(training, found)) / pairs
    return Measured(loss, others=objective_of(training).measures(found, training))


def _loss(training: TrainingConfig, found: AdapterLosses) -> Tensor:
    return objective_of(training).loss(found, training)
