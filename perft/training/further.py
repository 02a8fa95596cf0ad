"""Measures of full-length trials beside loss and accuracy: what they forget, and their routers."""

from collections.abc import Mapping

from perft.config import FurtherMeasures, TrainingConfig
from perft.training.evaluator import Evaluator, Measured
from perft.training.forgetting import Forgetting
from perft.training.router_measures import RouterMeasures


class Further:
    """Adds further metrics to the results of trials.

    Args:
        evaluator: of the pack.
        wanted: which ones.

    Raises:
        DataError: if a text cannot be read.
    """

    def __init__(self, evaluator: Evaluator, wanted: FurtherMeasures) -> None:
        self._forgetting = Forgetting.on(evaluator, wanted.other_texts)
        self._routers = RouterMeasures(evaluator) if wanted.routers else None

    def added_to(
        self, measured: dict[str, Measured], trials: Mapping[str, TrainingConfig]
    ) -> dict[str, Measured]:
        """The results with the metrics.

        Args:
            measured: results of trials at full length.
            trials: their training configurations.
        """
        found = self._forgetting.added_to(measured)
        return found if self._routers is None else self._routers.added_to(found, trials)
