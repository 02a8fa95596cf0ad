"""Scores the base of a pack without any adapter, as `Evaluator` scores trials.

The trials may stay on the base. The rows of the base alone share no forward pass with theirs, so
the score does not depend on which trials are there.
"""

from collections.abc import Mapping, Sequence

import torch

from perft.base_score import BaseScore
from perft.config import TrainingConfig
from perft.evaluation import Prediction, count_correct, predict, validate_base
from perft.forward import AdapterLosses
from perft.tasks import Split
from perft.training.objective import objective_of
from perft.training.pack import Pack
from perft.trial import AnswerCount


def predict_base(pack: Pack) -> dict[str, list[Prediction]]:
    """This rank's predictions of the base alone, by name of the split.

    They are of the validation and the test splits where answers are generated. On pairs the base
    has none (`BaseScore`).
    """
    return {split.name: _predict(pack, split) for split in _generated(pack)}


def score_base(
    pack: Pack, training: TrainingConfig, predictions: Mapping[str, Sequence[Prediction]]
) -> BaseScore:
    """The score of the base alone.

    Args:
        pack: its base and task.
        training: has the objective of the loss, and `max_length`, at which rows are cut.
        predictions: this rank's, from `predict_base`.
    """
    validation = pack.task.validation
    sizes = {split.name: len(split.examples) for split in _generated(pack)}
    counts = {
        name: AnswerCount(correct, sizes[name])
        for name, correct in (count_correct(predictions, pack.ranks) if sizes else {}).items()
    }
    found = counts.pop(validation.name, AnswerCount(0, 0))
    return BaseScore(
        objective=training.objective,
        val_loss=_loss(pack, training),
        validation=found,
        tests=counts,
        is_tie=validation.scorer.compares_pairs,
    )


def _generated(pack: Pack) -> list[Split]:
    """The splits whose answers are generated, the validation split first."""
    splits = (pack.task.validation, *pack.task.tests)
    return [split for split in splits if split.scorer.generates]


def _predict(pack: Pack, split: Split) -> list[Prediction]:
    prompts, tokenizer = pack.rows.prompts(split), pack.base.tokenizer
    found = predict(
        pack.host, [None], split, prompts=prompts, tokenizer=tokenizer, ranks=pack.ranks
    )
    return found[None]


def _loss(pack: Pack, training: TrainingConfig) -> float:
    objective = objective_of(training)
    if objective.needs_reference:  # one that the base differs from nowhere
        same_2 = torch.zeros(2, dtype=torch.float64)
        return float(objective.loss(AdapterLosses.of(same_2, same_2), training))
    tokens = pack.rows.validation(training.max_length)
    rows = [tokens.row(i) for i in range(len(tokens))]
    pad: int = pack.base.tokenizer.pad_token_id
    return validate_base(pack.host, rows, pad, pack.ranks)
