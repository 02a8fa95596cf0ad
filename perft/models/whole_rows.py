"""Spares transformers a look at every batch for several texts in one row, which perft never makes.

The look makes the host wait for the device, so that a pass could not be captured; and while one is
captured transformers does not look, but builds the mask that such rows would need, whose attention
is slower and rounds otherwise (transformers 5.23, `masking_utils`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import masking_utils


@contextmanager
def whole_rows() -> Iterator[None]:
    """Passes inside take each row for one text; masks are then the same captured and not."""
    before = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = _none
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = before


def _none(_position_ids: object) -> None:
    return None
