"""Keeps transformers from searching every batch for packed sequences, which perft never makes.

The search makes the host wait for the device, which a captured pass must not. During a capture
transformers does not search, but builds the mask for packed sequences, whose attention is slower
and rounds differently (transformers 5.23, `masking_utils`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import masking_utils


@contextmanager
def whole_rows() -> Iterator[None]:
    """Treats each row inside as one sequence; masks are the same with and without capture."""
    before = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = _none
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = before


def _none(_position_ids: object) -> None:
    return None
