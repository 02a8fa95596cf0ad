"""Measures adapters: validation loss, and accuracy by greedy generation or by preference."""

from perft.evaluation.decoding import Opening
from perft.evaluation.generate import generate
from perft.evaluation.loss import ShapedMicroBatch, Validated, validate, validate_base
from perft.evaluation.preference import compare, preferred
from perft.evaluation.score import Prediction, count_correct, predict, prompt_rows

__all__ = [
    "Opening",
    "Prediction",
    "ShapedMicroBatch",
    "Validated",
    "compare",
    "count_correct",
    "generate",
    "predict",
    "preferred",
    "prompt_rows",
    "validate",
    "validate_base",
]
