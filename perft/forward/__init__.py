"""The forward pass of a pack: rows of many adapters through one base."""

from perft.forward.batch import BatchShape, TokenizedExample, target_count
from perft.forward.losses import (
    AdapterBatch,
    AdapterLosses,
    PackBatch,
    PackLosses,
    base_loss,
    losses_of,
    pack_batch,
    pack_choices,
    pack_losses,
    row_losses,
)

__all__ = [
    "AdapterBatch",
    "AdapterLosses",
    "BatchShape",
    "PackBatch",
    "PackLosses",
    "TokenizedExample",
    "base_loss",
    "losses_of",
    "pack_batch",
    "pack_choices",
    "pack_losses",
    "row_losses",
    "target_count",
]
