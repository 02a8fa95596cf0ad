"""Measures adapters: validation loss, and accuracy by greedy generation."""

from perft.evaluation.generate import generate
from perft.evaluation.loss import validation_losses
from perft.evaluation.score import Prediction, count_correct, predict, prompt_rows

__all__ = [
    "Prediction",
    "count_correct",
    "generate",
    "predict",
    "prompt_rows",
    "validation_losses",
]
