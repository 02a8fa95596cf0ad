"""What a search aims at, in one table."""

from collections.abc import Mapping

FRONT, ACCURACY, LOSS = "front", "accuracy", "loss"
DEFAULT_OBJECTIVE = FRONT
OBJECTIVES: Mapping[str, str] = {
    FRONT: "the Pareto front: few activated parameters and a low validation loss",
    ACCURACY: "the highest accuracy; where no answers are scored, the lowest validation loss",
    LOSS: "the lowest validation loss",
}
"""By name, what rungs and sampler compare."""
