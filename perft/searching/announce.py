"""Shows what the worker groups are doing until all of them train."""

import contextlib

import ray

from perft.packing.groups import WorkerGroups
from perft.packing.machines import alive_nodes, free_resources, waiting_groups
from perft.packing.messages import GroupStatus
from perft.packing.shape import GroupShape
from perft.searching.view import View

LOOK_SECONDS = 1.0
"""Time between two looks at the groups' status."""


def announce(groups: WorkerGroups, view: View, compiles: bool) -> None:
    """Shows the groups' stages until they have loaded their bases, or end with the coordinator.

    Args:
        groups: just started.
        view: the live view.
        compiles: whether the groups compile their bases.
    """
    view.stage("starting the worker groups and their coordinator")
    with contextlib.suppress(ray.exceptions.RayError):
        ready = groups.coordinator.when_ready()
        shown, waited = "", False
        while True:
            waiting = waiting_groups(groups.shape)
            status = groups.coordinator.status()
            text = doing(groups.shape, status, waiting if waited else 0)
            if text != shown:
                has = (
                    f"; the cluster has {free_resources(alive_nodes())}"
                    if waiting and waited
                    else ""
                )
                view.stage(text + has)
                shown = text
            waited = waiting > 0  # for more than a moment
            if ready(LOOK_SECONDS):
                break
        if groups.coordinator.status().fatal:
            return
        view.stage(f"training{'; the first steps compile the base' if compiles else ''}")


def doing(shape: GroupShape, status: GroupStatus, waiting: int) -> str:
    """What groups that do not train yet are doing.

    Args:
        shape: of the groups.
        status: the coordinator's.
        waiting: number of groups that wait for resources.
    """
    ready, stages = status.ready, status.stages
    behind = [group for group in range(shape.groups) if group not in ready]
    if waiting:
        found = shape.groups - waiting
        return (
            f"{found} of {shape.groups} worker groups have found room on the cluster"
            f"{', and train for all' if ready else ''}; each needs {shape.needs}"
        )
    if not behind:
        return "all worker groups are ready"
    text = stages.get(behind[0], "starting its processes")
    if shape.groups == 1:
        return f"the worker group is {text}"
    meanwhile = ", and train for all" if ready else ""
    return (
        f"{len(ready)} of {shape.groups} worker groups are ready{meanwhile}; "
        f"group {behind[0]} is {text}"
    )
