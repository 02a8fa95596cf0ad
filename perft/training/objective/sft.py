"""Supervised fine-tuning: the cross-entropy of the answers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perft.config import TrainingConfig
from perft.training.objective.contract import Unit

if TYPE_CHECKING:
    from torch import Tensor

    from perft.forward import AdapterLosses


class Sft:
    """Cross-entropy with equal weight for every token; reads only the chosen answer of a pair."""

    reads_pairs = False
    needs_reference = False
    unit: Unit = "answer token"

    def loss(self, found: "AdapterLosses", training: TrainingConfig) -> "Tensor":
        """The sum of the cross-entropies."""
        return found.total()

    def measures(self, found: "AdapterLosses", training: TrainingConfig) -> Mapping[str, float]:
        """Empty: there are no metrics beside the loss."""
        return {}
