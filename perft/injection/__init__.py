"""Joins adapters to a base by forward hooks: see `AdapterHost`."""

from perft.injection.host import AdapterHost
from perft.injection.places import require_fit
from perft.injection.rows import RowLayout, Segment, rows_of

__all__ = ["AdapterHost", "RowLayout", "Segment", "require_fit", "rows_of"]
