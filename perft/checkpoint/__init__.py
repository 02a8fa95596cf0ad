"""Adapters and trial states on disk: adapter-only, never the base."""

from perft.checkpoint.adapter import adapter_files, load_adapter, read_adapter, save_adapter
from perft.checkpoint.state import Progress, TrialState, from_bytes, to_bytes

__all__ = [
    "Progress",
    "TrialState",
    "adapter_files",
    "from_bytes",
    "load_adapter",
    "read_adapter",
    "save_adapter",
    "to_bytes",
]
