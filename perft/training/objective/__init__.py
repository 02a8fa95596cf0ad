"""What a trial minimises: one file per objective, listed in `OBJECTIVES`.

A trial's `TrainingConfig` names its objective, which says what it reads of an example and computes
its loss; rungs compare the same loss on validation examples. Importing it does not import torch, so
a search can be refused before any worker starts.
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
"""Every objective, by its name in `TrainingConfig.objective`."""


def objective_of(training: TrainingConfig) -> Objective:
    """The objective of a training configuration."""
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
