"""Exports the adapter of one trial as a folder that explains itself."""

from perft.export.folder import export_adapter
from perft.export.score import Score

__all__ = ["Score", "export_adapter"]
