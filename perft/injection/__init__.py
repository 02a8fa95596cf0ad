"""Joins adapters to a base by forward hooks: see `AdapterHost`."""

from perft.injection.attach_points import require_fit
from perft.injection.host import AdapterHost
from perft.injection.rows import BatchLayout, Segment, rows_of

__all__ = ["AdapterHost", "BatchLayout", "Segment", "require_fit", "rows_of"]
