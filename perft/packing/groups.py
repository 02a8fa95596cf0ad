"""Starts and stops the worker groups of a search: one Ray Train run each, beside Ray Tune."""

import contextlib
import functools
import gc
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

import ray
import ray.train
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from perft.compat.ray_train import DataParallelTrainer, EndableTrainer, endable
from perft.packing.coordinator import Coordinator
from perft.packing.deaths import DEATHS
from perft.packing.handle import ANSWER_SECONDS, CoordinatorHandle
from perft.packing.ray_folder import ray_folder
from perft.packing.settings import GroupSettings, WorkSettings
from perft.packing.shape import GroupShape
from perft.search_folder import TRAIN_FOLDER
from perft.storage import Storage

MAX_FAILURES = -1
"""Ray Train restarts a group without limit; the coordinator counts starts and gives up."""

STOP_SECONDS = 60.0
"""Time for the groups to end cleanly."""

KILLED_SECONDS = 30.0
"""Time for the threads of groups that were killed to end."""

LOOK_SECONDS = 0.1
"""Time for which one group's thread is waited for before the next."""

log = logging.getLogger(__name__)

_ERRORS: list[Exception] = []
"""Errors of groups, which hold references to Ray's objects: a thread that drops one of them while
Ray shuts down ends the process, from C++. So they are kept as long as the process."""


def calls_at_once(shape: GroupShape) -> int:
    """Calls that the coordinator must hold open at once: one for each waiting trial, and others.

    A trial whose process died may have two.
    """
    return 2 * shape.trials_at_once + 10 * shape.groups * shape.workers + 100


def _work(config: Mapping[str, GroupSettings]) -> None:
    settings = config["settings"]
    try:
        coordinator = CoordinatorHandle.find(settings.coordinator, settings.namespace)
    except ValueError:
        return  # it has died: the search continues with a new one and new groups
    coordinator.stage(settings.group, "importing")
    # Imported objects live until the end: collecting garbage took a sixth of the import's time.
    gc.disable()
    try:
        from perft.packing.worker import work  # noqa: PLC0415 - only workers need torch
    except Exception as error:  # Ray Train would restart it for ever
        reason = f"worker group {settings.group} cannot start: {type(error).__name__}: {error}"
        coordinator.give_up(reason, timeout=ANSWER_SECONDS)
        return
    gc.freeze()
    gc.enable()
    work(settings)


def _trainer_of(shape: GroupShape) -> Callable[..., EndableTrainer]:
    """Ray Train's trainer for a group: a lone worker needs no process group.

    Without one, neither this process nor the group's controller imports torch, which would add two
    seconds to the start of a group. Groups read their own data.
    """
    if shape.workers == 1:
        return endable(DataParallelTrainer)
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415 - imports torch

    backend = TorchConfig(backend="nccl" if shape.use_gpu else "gloo")
    return functools.partial(endable(TorchTrainer), torch_config=backend)


class WorkerGroups:
    """The standing worker groups of one search and their coordinator.

    Args:
        shape: number and size of the groups.
        num_trials: trials of the search.
        rungs: steps after which a trial reports.
        work: settings of every group.
    """

    def __init__(
        self, shape: GroupShape, num_trials: int, rungs: tuple[int, ...], work: WorkSettings
    ) -> None:
        self.shape = shape
        self._is_stopping = False
        self._trainers: dict[int, EndableTrainer] = {}
        self.name = f"perft-coordinator-{uuid.uuid4().hex[:12]}"
        self.namespace: str = ray.get_runtime_context().namespace
        calls = calls_at_once(shape)
        # Beside the driver, as Ray Train's controllers: another machine may be taken away.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_concurrency=calls, scheduling_strategy=here)(Coordinator)
        self.coordinator = CoordinatorHandle(
            actor.options(name=self.name).remote(shape.groups, shape.slots, num_trials, rungs)
        )
        self._threads = [
            threading.Thread(target=self._run, args=(index, shape, work), daemon=True)
            for index in range(shape.groups)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def are_lost(self) -> bool:
        """Whether the coordinator has died; the groups end when they notice."""
        try:
            self.coordinator.status(ANSWER_SECONDS)
        except DEATHS:
            return True
        except ray.exceptions.GetTimeoutError:  # it is slow, and lives
            return False
        return False

    def steps(self) -> dict[int, int]:
        """By running trial, the steps it has done; empty if the coordinator does not answer."""
        try:
            return dict(self.coordinator.status(ANSWER_SECONDS).steps)
        except ray.exceptions.RayError:
            return {}

    def stop(self) -> None:
        """Ends the groups cleanly, then the coordinator and the groups that are late.

        Waits for the groups' threads: Ray ends a process in which a thread calls it after its
        shutdown.
        """
        self._is_stopping = True
        deadline = time.monotonic() + STOP_SECONDS
        started: Sequence[int] = range(len(self._threads))
        with contextlib.suppress(ray.exceptions.RayError):  # it may be gone already
            self.coordinator.stop()
            # The others wait for resources, or start their processes.
            started = self.coordinator.status(ANSWER_SECONDS).started
        for group in started:
            self._threads[group].join(max(0.0, deadline - time.monotonic()))
        self.coordinator.kill()
        self._kill_groups()

    def _kill_groups(self) -> None:
        """Ends the groups that still run; one may only now begin to."""
        deadline = time.monotonic() + KILLED_SECONDS
        alive = set(range(len(self._threads)))
        while alive and time.monotonic() < deadline:
            for group in alive & self._trainers.keys():
                self._trainers[group].end()
            for group in alive:
                self._threads[group].join(LOOK_SECONDS)
            alive = {group for group in alive if self._threads[group].is_alive()}

    def _run(self, index: int, shape: GroupShape, work: WorkSettings) -> None:
        """Runs one group, restarting it until it is stopped or cannot start."""
        for start in itertools.count():
            if self._is_stopping:
                return
            try:
                trainer = self._trainers[index] = self._trainer(index, start, shape, work)
                trainer.fit()
            except DEATHS as error:
                _ERRORS.append(error)
                log.debug("the controller of worker group %d died", index, exc_info=True)
                continue  # the coordinator counts the starts
            except Exception as error:  # whatever ended the group, its trials must fail
                _ERRORS.append(error)
                log.debug("worker group %d ended", index, exc_info=True)
                self._give_up(f"worker group {index} ended: {error}")
            return

    def _trainer(
        self, index: int, start: int, shape: GroupShape, work: WorkSettings
    ) -> EndableTrainer:
        settings = GroupSettings(
            group=index,
            coordinator=self.name,
            namespace=self.namespace,
            threads=shape.cpus,
            work=work,
        )
        return _trainer_of(shape)(
            _work,
            train_loop_config={"settings": settings},
            scaling_config=ray.train.ScalingConfig(
                num_workers=shape.workers,
                use_gpu=shape.use_gpu,
                resources_per_worker=shape.each,
                accelerator_type=shape.accelerator or None,
            ),
            run_config=ray.train.RunConfig(
                name=f"group-{index}-{start}",
                storage_path=str(ray_folder(Storage(work.storage)) / TRAIN_FOLDER),
                failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            ),
        )

    def _give_up(self, reason: str) -> None:
        if self._is_stopping:  # no trial waits any more
            return
        try:
            self.coordinator.give_up(reason, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError:
            log.debug("the coordinator is gone already")
