"""How the worker groups of a search lie on the machines of a cluster that is up."""

from collections.abc import Sequence

from perft.packing.groups import SLOTS_ON_A_GPU, GroupShape, fit_to_cluster
from perft.packing.machines import Node, gpu_memory
from perft.search.prepare import Prepared


def shape_on(prepared: Prepared, nodes: Sequence[Node]) -> GroupShape:
    """How the worker groups lie on the machines of the cluster, which is up."""
    settings = prepared.settings
    slots = settings.slots
    if slots is None and any(node["Resources"].get("GPU", 0) >= 1 for node in nodes):
        slots = _slots_on_gpus(prepared, gpu_memory(nodes))
    resources = [node["Resources"] for node in nodes]
    return fit_to_cluster(
        settings.groups, settings.workers_per_group, slots, resources, settings.num_trials
    )


def _slots_on_gpus(prepared: Prepared, memory: int) -> int:
    """As many trials as a GPU of so many bytes holds, and no more than are useful at a time."""
    from perft.search.fit import slots_in, step_load  # noqa: PLC0415 - imports torch

    settings, space = prepared.settings, prepared.draw.space
    load = step_load(
        space,
        settings.base_model,
        workers=settings.workers_per_group,
        dtype=settings.dtype,
        experts=settings.experts,
        checkpointing=settings.checkpointing,
    )
    slots = slots_in(memory, space, settings.base_model, load)
    return SLOTS_ON_A_GPU if slots is None else min(SLOTS_ON_A_GPU, slots)
