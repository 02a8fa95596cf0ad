"""The undocumented interfaces of Ray Train that perft uses; imports for seconds, without torch."""

from collections.abc import Callable
from typing import Any

from perft.compat.ray import RAY

_GROUPS = "to start worker groups"

with RAY.needs(_GROUPS):
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.constants import (
        ENABLE_PREEMPTION_WATCHER_ENV_VAR as PREEMPTION_VARIABLE,
    )
    from ray.train.v2._internal.constants import (
        HEALTH_CHECK_INTERVAL_S_ENV_VAR as HEALTH_SECONDS_VARIABLE,
    )
    from ray.train.v2._internal.constants import (
        WORKER_GROUP_START_TIMEOUT_S_ENV_VAR as START_SECONDS_VARIABLE,
    )
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    _callbacks = DataParallelTrainer._create_default_callbacks

__all__ = [
    "HEALTH_SECONDS_VARIABLE",
    "PREEMPTION_VARIABLE",
    "START_SECONDS_VARIABLE",
    "DataParallelTrainer",
    "without_datasets",
]


def without_datasets(trainer: Any) -> Callable[..., Any]:
    """A Ray Train trainer class without its manager of Ray datasets.

    The manager is a process for every group, and takes two CPU seconds to start.

    Args:
        trainer: `DataParallelTrainer` or a subclass.
    """

    class Trainer(trainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [each for each in callbacks if not isinstance(each, DatasetsCallback)]

    return Trainer
