"""The undocumented interfaces of Ray Train that perft uses; imports for seconds, without torch."""

from collections.abc import Callable
from typing import Any, Protocol

import ray

from perft.compat.library import names_in
from perft.compat.ray import RAY

_GROUPS = "to start worker groups"

with RAY.needs(_GROUPS):
    from ray._common import constants
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
    from ray.train.v2._internal.constants import get_env_vars_to_propagate
    from ray.train.v2._internal.execution.context import TrainContext, get_train_context
    from ray.train.v2._internal.execution.controller import TrainController
    from ray.train.v2._internal.execution.preemption import PreemptionContext
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    _callbacks = DataParallelTrainer._create_default_callbacks
    _run = DataParallelTrainer._initialize_and_run_controller
    _NODE = ray._raylet.RAY_NODE_ID_KEY
    _BLOCKING = constants.RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
RAY.require(
    {"get_env_vars_to_propagate", "TrainController", "run", "get_result"} <= names_in(_run),
    "a controller that a trainer starts, runs and asks for its result",
    "to end a worker group",
)

RAY.require(
    "preemption_context" in TrainContext.__annotations__
    and "preemption_info" in PreemptionContext.__annotations__,
    "a worker's context with its preemption",
    "to keep trials' states before a machine is taken",
)

__all__ = [
    "HEALTH_SECONDS_VARIABLE",
    "PREEMPTION_VARIABLE",
    "START_SECONDS_VARIABLE",
    "DataParallelTrainer",
    "EndableTrainer",
    "endable",
    "warned_nodes",
]


def warned_nodes() -> tuple[str, ...]:
    """Ids of the nodes of this worker's group that are about to be taken, as far as it has heard.

    Ray's watcher tells every worker of the group. `ray.train.get_preemption_info` is a call that
    all workers must make together, and waits for another process; this one costs nothing.
    """
    info = get_train_context().preemption_context.preemption_info
    return tuple(info.preempted_node_ids) if info is not None else ()


class EndableTrainer(Protocol):
    """A trainer whose run another thread can end."""

    def fit(self) -> Any:
        """Runs it; raises a `RayError` if it is ended."""

    def end(self) -> None:
        """Ends the run at once if it has begun."""


def endable(trainer: Any) -> Callable[..., EndableTrainer]:
    """A Ray Train trainer class whose runs another thread can end, and which needs no datasets.

    Ray itself ends a run at Ctrl-C, and only one in the main thread. And its manager of datasets is
    a process for every group, which takes two CPU seconds to start.

    Args:
        trainer: `DataParallelTrainer` or a subclass.
    """

    class Trainer(trainer):  # type: ignore[misc]
        _controller: Any = None

        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [each for each in callbacks if not isinstance(each, DatasetsCallback)]

        def _initialize_and_run_controller(self, **arguments: Any) -> Any:
            here = ray.get_runtime_context().get_node_id()
            actor = ray.remote(
                num_cpus=0,
                label_selector={_NODE: here},
                runtime_env={"env_vars": {_BLOCKING: "0", **get_env_vars_to_propagate()}},
            )(TrainController)
            self._controller = actor.remote(**arguments)
            ray.get(self._controller.run.remote())
            return ray.get(self._controller.get_result.remote())

        def end(self) -> None:
            if self._controller is not None:
                ray.kill(self._controller)

    return Trainer
