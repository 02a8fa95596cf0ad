"""Joins adapters to a base by forward hooks: see `AdapterHost`."""

from perft.injection.host import AdapterHost
from perft.injection.rows import RowLayout, Segment, rows_of

__all__ = ["AdapterHost", "RowLayout", "Segment", "rows_of"]
