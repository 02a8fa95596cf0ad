"""The forward pass of a pack: rows of many adapters through one base."""

from perft.forward.batch import BatchShape, Row, target_count
from perft.forward.losses import (
    AdapterRows,
    PackBatch,
    PackLosses,
    losses_of,
    pack_batch,
    pack_choices,
    pack_losses,
    row_losses,
)

__all__ = [
    "AdapterRows",
    "BatchShape",
    "PackBatch",
    "PackLosses",
    "Row",
    "losses_of",
    "pack_batch",
    "pack_choices",
    "pack_losses",
    "row_losses",
    "target_count",
]
