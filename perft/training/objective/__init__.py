"""What a trial minimises, one objective per file: an objective is a line of `OBJECTIVES`.

The trial's `TrainingConfig` names it. A step asks an objective what it reads of an example and how
that becomes a loss; a rung compares the same loss of validation examples. Free of torch when
imported, so that a search can be refused before any worker starts.
"""

from collections.abc import Mapping

from perft.config import TrainingConfig
from perft.config.training import ObjectiveName
from perft.errors import ConfigError
from perft.tasks import Task
from perft.training.objective.contract import Objective, Unit
from perft.training.objective.dpo import Dpo
from perft.training.objective.sft import Sft

__all__ = ["OBJECTIVES", "Objective", "Unit", "objective_of", "require_readable"]

OBJECTIVES: Mapping[ObjectiveName, Objective] = {"sft": Sft(), "dpo": Dpo()}
"""Every objective by the name that `TrainingConfig.objective` has for it."""


def objective_of(training: TrainingConfig) -> Objective:
    """What a trial minimises."""
    return OBJECTIVES[training.objective]


def require_readable(name: ObjectiveName, task: Task) -> None:
    """Checks that a task's examples have what an objective reads.

    Raises:
        ConfigError: if it reads pairs of answers and the task has single ones.
    """
    if OBJECTIVES[name].reads_pairs and not task.has_pairs:
        raise ConfigError(
            f"the objective {name} compares two answers to a prompt, and the examples of the task "
            f"{task.name!r} have one; choose a task of preferences, or the objective sft"
        )
