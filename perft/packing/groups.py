"""Starts and stops the worker groups of a search: one Ray Train run each, beside Ray Tune."""

import contextlib
import dataclasses
import functools
import gc
import itertools
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from perft.errors import SearchError
from perft.packing.deaths import DEATHS
from perft.packing.meeting import MeetingPoint
from perft.packing.ray_folder import ray_folder
from perft.packing.settings import GroupSettings
from perft.storage import Storage

MAX_FAILURES = -1
"""Ray Train restarts a group without limit; the meeting point counts and gives up."""

STOP_SECONDS = 60.0
"""Time for the groups to end in order."""

SLOTS_ON_A_GPU = 8
"""Trials that a group trains together on GPUs at most, unless the user says otherwise."""

TRIALS_ON_CPUS = 4
"""Trials that all groups together train at once on CPUs, unless the user says otherwise."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GroupShape:
    """How the worker groups lie on a cluster.

    Attributes:
        groups: number of groups.
        workers: processes per group, over which the base is sharded.
        slots: trials that one group trains together.
        use_gpu: one GPU per worker.
        cpus: CPUs per worker.
    """

    groups: int
    workers: int
    slots: int
    use_gpu: bool
    cpus: int

    @property
    def trials_at_once(self) -> int:
        """Trials that all groups together train at a time."""
        return self.groups * self.slots

    @property
    def needs(self) -> str:
        """What one group asks of the cluster, such as "8 x (3 CPU, 1 GPU)"."""
        return f"{self.workers} x ({self.cpus} CPU{', 1 GPU' if self.use_gpu else ''})"


def fit_to_cluster(
    groups: int | None,
    workers: int,
    slots: int | None,
    nodes: Sequence[Mapping[str, float]],
    num_trials: int,
) -> GroupShape:
    """Lays the groups on a cluster: one GPU per worker where there are GPUs, else shared CPUs.

    Args:
        groups: worker groups wanted; None for as many as there are GPUs for, or, on CPUs, for up to
            `TRIALS_ON_CPUS`, so that each trial has a core where there are enough of them.
        workers: workers per group.
        slots: trials per group; None for `SLOTS_ON_A_GPU`, or, on CPUs, for what makes
            `TRIALS_ON_CPUS` in all: a search is then the same on every such machine.
        nodes: what each machine has, as Ray counts it; a worker lies on one of them.
        num_trials: trials of the search; there are no more groups than that unless wished for.

    Raises:
        SearchError: if the cluster is too small.
    """
    use_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)
    room = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    if use_gpu:
        room = [(cpus, gpus) for cpus, gpus in room if gpus]
    found = {"GPUs": sum(gpus for _, gpus in room), "CPUs": sum(cpus for cpus, _ in room)}
    groups = groups or _groups_for(found, workers, num_trials, use_gpu=use_gpu)
    slots = slots or (SLOTS_ON_A_GPU if use_gpu else max(1, TRIALS_ON_CPUS // groups))
    total = groups * workers
    if use_gpu:
        _require("GPUs", groups, workers, found["GPUs"])
    _require("CPUs", groups, workers, found["CPUs"])

    def holds(cpus_each: int) -> bool:
        fit = [min(cpus // cpus_each, gpus if use_gpu else cpus) for cpus, gpus in room]
        return sum(fit) >= total

    cpus_each = next((n for n in range(max(room)[0], 0, -1) if holds(n)), None)
    if cpus_each is None:
        raise SearchError(
            f"{groups} groups of {workers} workers need a GPU and a CPU of the same machine for "
            "each worker, the cluster has too few; lower --groups or --workers-per-group"
        )
    return GroupShape(groups=groups, workers=workers, slots=slots, use_gpu=use_gpu, cpus=cpus_each)


def _groups_for(found: Mapping[str, int], workers: int, num_trials: int, *, use_gpu: bool) -> int:
    possible = min(found["GPUs"], found["CPUs"]) if use_gpu else found["CPUs"]
    most = min(possible // workers, num_trials)
    if not use_gpu:
        most = max((n for n in (1, 2, TRIALS_ON_CPUS) if n <= most), default=1)
    return max(1, most)


def _require(what: str, groups: int, workers: int, found: int) -> None:
    if found < groups * workers:
        raise SearchError(
            f"{groups} groups of {workers} workers need {groups * workers} {what}, the cluster has "
            f"{found}; lower --groups or --workers-per-group"
        )


def _work(flat: dict[str, Any]) -> None:
    # What an import makes stays: to look through it for garbage took a sixth of the time.
    gc.disable()
    from perft.packing.worker import work  # noqa: PLC0415 - only workers need torch

    gc.freeze()
    gc.enable()
    work(flat)


def _trainer_of(shape: GroupShape) -> Callable[..., Any]:
    """Ray Train's trainer for a group: a lone worker needs no process group.

    Without one, neither this process nor the group's controller has to import torch, which would
    be two of the seconds that a group takes to start.
    """
    if shape.workers == 1:
        return _without_datasets(DataParallelTrainer)
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415 - imports torch

    backend = TorchConfig(backend="nccl" if shape.use_gpu else "gloo")
    return functools.partial(_without_datasets(TorchTrainer), torch_config=backend)


def _without_datasets(trainer: Any) -> Callable[..., Any]:
    """The trainer without its manager of Ray datasets: groups read their own data.

    The manager is a process for every group, and takes two CPU seconds to start.
    """

    class Trainer(trainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [each for each in callbacks if type(each).__name__ != "DatasetsCallback"]

    return Trainer


class WorkerGroups:
    """The standing worker groups of one search and their meeting point.

    Args:
        shape: how many, how large.
        num_trials: trials of the search.
        rungs: steps after which a trial reports.
        group: settings of every group; number and meeting point are filled in here.
    """

    def __init__(
        self, shape: GroupShape, num_trials: int, rungs: tuple[int, ...], group: dict[str, Any]
    ) -> None:
        self.shape = shape
        self._is_stopping = False
        self.name = f"perft-meeting-{uuid.uuid4().hex[:12]}"
        self.namespace: str = ray.get_runtime_context().namespace
        actor = ray.remote(num_cpus=0, max_concurrency=1000)(MeetingPoint)
        self.meeting = actor.options(name=self.name).remote(
            shape.groups, shape.slots, num_trials, rungs
        )
        self._threads = [
            threading.Thread(target=self._run, args=(index, shape, group), daemon=True)
            for index in range(shape.groups)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def are_lost(self) -> bool:
        """Whether the meeting point has died; the groups end when they notice."""
        try:
            ray.get(self.meeting.status.remote())
        except DEATHS:
            return True
        return False

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Ends the groups cleanly and the meeting point with them.

        Args:
            patience: seconds that they have for it; then they end with Ray.
        """
        self._is_stopping = True
        with contextlib.suppress(ray.exceptions.RayError):  # it may be gone already
            ray.get(self.meeting.stop.remote())
        for thread in self._threads:
            thread.join(patience)
        ray.kill(self.meeting)

    def _run(self, index: int, shape: GroupShape, group: dict[str, Any]) -> None:
        """Keeps one group going, until it is told to stop or cannot start."""
        for start in itertools.count():
            if self._is_stopping:
                return
            try:
                self._trainer(index, start, shape, group).fit()
            except DEATHS:
                log.debug("the controller of worker group %d died", index, exc_info=True)
                continue  # the meeting point counts the starts
            except Exception as error:  # whatever ended the group, the trials must hear of it
                log.debug("worker group %d ended", index, exc_info=True)
                self._give_up(f"worker group {index} ended: {error}")
            return

    def _trainer(self, index: int, start: int, shape: GroupShape, group: dict[str, Any]) -> Any:
        settings = GroupSettings(
            group=index,
            meeting=self.name,
            namespace=self.namespace,
            threads=shape.cpus,
            **group,
        )
        return _trainer_of(shape)(
            _work,
            train_loop_config=dataclasses.asdict(settings),
            scaling_config=ray.train.ScalingConfig(
                num_workers=shape.workers,
                use_gpu=shape.use_gpu,
                resources_per_worker={"CPU": shape.cpus, **({"GPU": 1} if shape.use_gpu else {})},
            ),
            run_config=ray.train.RunConfig(
                name=f"group-{index}-{start}",
                storage_path=str(ray_folder(Storage(settings.storage)) / "train"),
                failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            ),
        )

    def _give_up(self, reason: str) -> None:
        if self._is_stopping:  # nobody asks any more
            return
        try:
            ray.get(self.meeting.give_up.remote(reason))
        except ray.exceptions.RayError:
            log.debug("the meeting point is gone already")
