"""Which answer of a pair adapters prefer: the one that they make likelier than the base alone does.

The chosen and the rejected answer go through the base in one pass, with the adapter and without.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from perft.evaluation.generate import Advance, unheard
from perft.evaluation.loss import ShapedMicroBatch, passes_over
from perft.evaluation.score import Prediction
from perft.forward import AdapterBatch, AdapterLosses, pack_losses
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.tokenize import TokenizedSplit


@torch.no_grad()
def compare(
    host: AdapterHost,
    names: Sequence[str],
    rows: TokenizedSplit,
    *,
    pairs: int,
    pad: int,
    ranks: Ranks,
    together: Sequence[ShapedMicroBatch] | None = None,
    advance: Advance = unheard,
) -> dict[str, AdapterLosses]:
    """What each adapter, and the base alone, makes of every pair.

    Args:
        host: the base with the adapters on it.
        names: the adapters.
        rows: of pairs, from `tokenize_pairs`.
        pairs: how many of them, from the first on.
        pad: token id of padding.
        ranks: the pairs are shared among them.
        together: as `perft.evaluation.loss.validate`, of shapes with references.
        advance: hears of progress.

    Returns:
        By adapter, the losses of all ranks' rows, fp64 on the CPU.
    """
    found = {name: torch.zeros(2, 2 * pairs, dtype=torch.float64, device="cpu") for name in names}
    longest = rows.lengths[: 2 * pairs].reshape(-1, 2).max(1).tolist()
    for some, shape, chunk in passes_over(names, longest, ranks, together, pairs=True):
        mine = [
            row for pair in chunk[ranks.local_slice(len(chunk))] for row in (2 * pair, 2 * pair + 1)
        ]
        # Of fewer pairs than ranks some have none: a sharded base wants all of them in its pass.
        read = mine or [2 * chunk[0], 2 * chunk[0] + 1]
        part = AdapterBatch([rows.row(i) for i in read], referenced=True)
        losses = pack_losses(host, pad, dict.fromkeys(some, part), shape)
        for name in some:
            one = losses.of(name)
            both = torch.stack([one.rows(), one.reference()]).double().cpu()
            found[name][:, mine] = both[:, : len(mine)]
        advance(len(some) * len(chunk) / (len(names) * pairs))
    on_device = {name: both.to(ranks.device) for name, both in found.items()}
    ranks.all_reduce_(list(on_device.values()))
    return {name: AdapterLosses.of(*both.cpu()) for name, both in on_device.items()}


def preferred(split: Split, found: AdapterLosses) -> list[Prediction]:
    """The preferred answer of each pair; right where it is the chosen one."""
    predictions = []
    for index, (example, margin) in enumerate(
        zip(split.examples, margins(found).tolist(), strict=True)
    ):
        answer = (example.completion if margin > 0 else example.rejected).strip()
        predictions.append(Prediction(index, answer, answer, margin > 0))
    return predictions


def margins(found: AdapterLosses) -> Tensor:
    """By how many nats more an adapter favours each pair's chosen answer than the base does."""
    gain_P2 = (found.reference() - found.rows()).view(-1, 2)
    return gain_P2[:, 0] - gain_P2[:, 1]
