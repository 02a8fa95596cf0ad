"""Scores adapters on tasks with choices by the likelihood of each choice, without generation.

The answer is the choice with the highest log-likelihood after the prompt of generation, summed over
its tokens without end of sequence; "likelihood-normalized" divides by the choice's characters, as
acc_norm of lm-evaluation-harness does. It is judged like a generated text.

Invariant: a choice depends on its own row alone, not on batch, padding or the pack.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch

from perft.evaluation.generate import Advance, unheard
from perft.evaluation.loss import chunks_by_length
from perft.evaluation.score import Prediction, judge
from perft.forward import AdapterBatch, row_losses
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.tokenize import TokenizedSplit


@torch.no_grad()
def choose(
    host: AdapterHost,
    names: Sequence[str],
    split: Split,
    *,
    rows: TokenizedSplit,
    normalized: bool,
    pad: int,
    ranks: Ranks,
    advance: Advance = unheard,
) -> dict[str, list[Prediction]]:
    """Predictions of this rank's share of the split, for each adapter, by example index.

    Args:
        host: the base with the adapters on it.
        names: the adapters.
        split: examples, with choices, and scorer.
        rows: the split's, from `tokenize_choices`; at least one for each rank.
        normalized: whether a log-likelihood is divided by the choice's characters.
        pad: token id of padding.
        ranks: the rows are shared among them.
        advance: hears of progress.
    """
    total = {name: torch.zeros(len(rows), dtype=torch.float64, device="cpu") for name in names}
    for chunk in chunks_by_length(rows.lengths.tolist(), len(names), ranks):
        mine = chunk[ranks.local_slice(len(chunk))]
        part = AdapterBatch([rows.row(i) for i in mine])
        for name, losses in row_losses(host, pad, dict.fromkeys(names, part)).items():
            total[name][mine] = losses.cpu()
        advance(len(chunk) / len(rows))
    on_device = {name: losses.to(ranks.device) for name, losses in total.items()}
    ranks.all_reduce_(list(on_device.values()))
    indices = range(len(split.examples))[ranks.local_slice(len(split.examples))]
    starts = [0, *accumulate(len(example.choices) for example in split.examples)]
    found = {}
    for name, losses in on_device.items():
        values = losses.tolist()
        found[name] = [
            _chosen(split, i, values[starts[i] : starts[i + 1]], normalized) for i in indices
        ]
    return found


def _chosen(split: Split, index: int, losses: Sequence[float], normalized: bool) -> Prediction:
    """The choice with the lowest loss, the first of equal ones; NaN counts as the highest."""
    choices = split.examples[index].choices
    lengths = [max(1, len(choice.strip())) if normalized else 1 for choice in choices]
    costs = [
        math.inf if math.isnan(loss) else loss / length
        for loss, length in zip(losses, lengths, strict=True)
    ]
    return judge(split, index, choices[costs.index(min(costs))])
