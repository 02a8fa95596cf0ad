"""Exports the adapter of one trial as a folder with a model card."""

from perft.export.folder import export_adapter
from perft.export.score import Score, scores_of

__all__ = ["Score", "export_adapter", "scores_of"]
