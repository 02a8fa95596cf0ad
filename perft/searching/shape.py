"""Places the worker groups of a search on a cluster, waiting for machines that come up."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence

from perft.errors import SearchError
from perft.packing.machines import (
    Node,
    alive_nodes,
    autoscaler_brings_gpus,
    free_resources,
    gpu_memory,
    machines_requested,
)
from perft.packing.shape import (
    SLOTS_ON_A_GPU,
    GroupShape,
    fit_to_cluster,
    has_gpu,
    kind_of,
)
from perft.searching.prepare import SearchPlan
from perft.searching.settings import SearchSettings
from perft.searching.stages import Stages

BOOT_SECONDS = 60.0
"""Time for machines of the user's cluster that may just be coming up."""

LOOK_SECONDS = 1.0
"""Time between two looks for new machines."""

AGAIN_SECONDS = 60.0
"""Time between two messages that the search still waits for machines."""

SWITCH = "--gpus-per-worker"


def shape_on(plan: SearchPlan, stages: Stages, *, joined: bool) -> tuple[GroupShape, list[Node]]:
    """The shape of the worker groups, and the machines of the cluster.

    On the user's cluster, machines may still come up: the search asks the autoscaler for what it
    needs and waits for it; without limit if the user has set the GPUs per worker, now or when the
    search was started, or if no machine could hold a worker yet.

    Args:
        plan: the search.
        stages: shows the user what the search does.
        joined: whether the cluster is the user's, which may grow.

    Raises:
        SearchError: if the search does not fit.
    """
    settings, nodes = plan.settings, alive_nodes()
    gpus = settings.gpus_per_worker
    if gpus is None and joined and not _have_gpus(nodes):
        gpus = _to_come(stages)
    patience = BOOT_SECONDS if joined else 0.0
    if joined and (gpus or settings.gpus_per_worker is not None or not _have_cpus(nodes)):
        patience = math.inf
    shape, nodes = _wait_for_fit(settings, nodes, gpus, patience, stages)
    _tell_kinds(shape, nodes, stages)
    if settings.slots is None and shape.use_gpu:
        kind = [node for node in nodes if shape.accelerator in ("", kind_of(node["Resources"]))]
        with stages.during("asking the machines for their GPUs' memory"):
            memory = int(gpu_memory(kind) * shape.gpus)
        with stages.during("planning how many trials a GPU holds"):
            shape = dataclasses.replace(shape, slots=_slots_on_gpus(plan, memory))
    return shape, nodes


def _have_gpus(nodes: Sequence[Node]) -> bool:
    return any(has_gpu(node["Resources"]) for node in nodes)


def _have_cpus(nodes: Sequence[Node]) -> bool:
    return any(node["Resources"].get("CPU", 0) >= 1 for node in nodes)


def _to_come(stages: Stages) -> float:
    """GPUs per worker on a user's cluster that has no GPU yet."""
    if autoscaler_brings_gpus():
        stages.say(
            "no machine has a GPU yet, and the cluster's autoscaler can bring some up: they are "
            f"asked for ({SWITCH} 0 trains on CPUs)"
        )
        return 1.0
    stages.say(
        "no machine of the cluster has a GPU: training on CPUs (where an autoscaler can bring up "
        f"machines with GPUs, {SWITCH} 1 asks it to, and waits for them)"
    )
    return 0.0


def _wait_for_fit(
    settings: SearchSettings,
    nodes: list[Node],
    gpus: float | None,
    patience: float,
    stages: Stages,
) -> tuple[GroupShape, list[Node]]:
    """Waits until all groups fit; for GPUs to come, until one does: the others follow.

    Raises:
        SearchError: if they do not fit after `patience` seconds.
    """
    wanted = GroupShape(
        groups=settings.groups or 1,
        workers=settings.workers_per_group,
        slots=1,
        gpus=gpus or 0.0,
        cpus=1,
    )
    start, said = time.monotonic(), -math.inf
    with contextlib.ExitStack() as asking:
        while True:
            try:
                return _fit(settings, nodes, gpus, some=bool(gpus and patience)), nodes
            except SearchError as error:
                if time.monotonic() - start >= patience:
                    raise _with_advice(error, gpus, nodes) from error
            if said < start:
                asking.enter_context(machines_requested(wanted))
            if time.monotonic() - said >= AGAIN_SECONDS:
                said = time.monotonic()
                stages.say(_waiting(wanted, free_resources(nodes), patience))
            time.sleep(LOOK_SECONDS)
            nodes = alive_nodes()


def _waiting(wanted: GroupShape, found: str, patience: float) -> str:
    return (
        f"waiting for machines that come up: {wanted.groups} worker groups need {wanted.needs} "
        f"each, the cluster has {found}; "
        + ("Ctrl-C ends this" if math.isinf(patience) else f"it ends after {patience:.0f} s")
        + "; fewer --groups or --workers-per-group need less"
        + (f", and {SWITCH} 0 trains on CPUs" if wanted.gpus else "")
    )


def _with_advice(error: SearchError, gpus: float | None, nodes: Sequence[Node]) -> SearchError:
    if gpus and not _have_gpus(nodes):
        return SearchError(
            f"the search is to train on GPUs, and no machine has one; {SWITCH} 0 trains on CPUs"
        )
    return error


def _fit(
    settings: SearchSettings, nodes: Sequence[Node], gpus: float | None, *, some: bool
) -> GroupShape:
    """The shape on these machines; with `some`, it suffices that one of the groups fits."""

    def fit(groups: int | None) -> GroupShape:
        return fit_to_cluster(
            groups,
            settings.workers_per_group,
            settings.slots,
            [node["Resources"] for node in nodes],
            settings.most_trials,
            gpus=gpus,
        )

    try:
        return fit(settings.groups)
    except SearchError:
        if not some or settings.groups is None:
            raise
    return dataclasses.replace(fit(1), groups=settings.groups)


def _tell_kinds(shape: GroupShape, nodes: Sequence[Node], stages: Stages) -> None:
    """Tells the user which GPUs are used if there are several kinds."""
    kinds = {kind_of(node["Resources"]) for node in nodes if has_gpu(node["Resources"])}
    if not shape.use_gpu or len(kinds) < 2:
        return
    names = ", ".join(sorted(kind or "unknown" for kind in kinds))
    stages.say(
        f"the cluster has several kinds of GPUs ({names}); the search trains on "
        + (
            f"{shape.accelerator} alone, so that all trials are computed alike"
            if shape.accelerator
            else "all of them, none having room for all groups: trials repeat up to rounding, and "
            "the smallest memory is planned with"
        )
    )


def _slots_on_gpus(plan: SearchPlan, memory: int) -> int:
    """Trials that a GPU of `memory` bytes holds, at most `SLOTS_ON_A_GPU`."""
    from perft.searching.capacity import slots_in, step_workload  # noqa: PLC0415 - imports torch

    settings, space = plan.settings, plan.draw.space
    load = step_workload(
        space,
        settings.base_model,
        workers=settings.workers_per_group,
        dtype=settings.dtype,
        experts=settings.experts,
        quantize=settings.quantize,
        checkpointing=settings.checkpointing,
    )
    slots = slots_in(memory, space, settings.base_model, load)
    return SLOTS_ON_A_GPU if slots is None else min(SLOTS_ON_A_GPU, slots)
