"""Keeps transformers from searching every batch for packed sequences, which perft never makes.

The search makes the host wait for the device, which a captured pass must not. During a capture
transformers does not search, but builds the mask for packed sequences, whose attention is slower
and rounds differently (transformers 5.23, `masking_utils`).
"""

from perft.compat.transformers import without_packed_rows

whole_rows = without_packed_rows
"""Treats each row inside as one sequence; masks are the same with and without capture."""
