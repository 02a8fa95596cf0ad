"""The forward pass of a pack: rows of many adapters through one base."""

from perft.forward.batch import Row, target_count
from perft.forward.lanes import Lanes, lanes_on
from perft.forward.losses import AdapterRows, PackLosses, pack_losses, row_losses

__all__ = [
    "AdapterRows",
    "Lanes",
    "PackLosses",
    "Row",
    "lanes_on",
    "pack_losses",
    "row_losses",
    "target_count",
]
