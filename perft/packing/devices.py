"""What the GPUs of a cluster have: asked of Ray tasks that run where they are."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def gpu_memory(nodes: Sequence[dict[str, Any]]) -> int:
    """Bytes of the smallest GPU: one of each machine is asked, and waited for while it is busy.

    Args:
        nodes: of a cluster, at least one with a GPU, as `ray.nodes` has them.
    """
    asked = [
        ray.remote(num_gpus=1, num_cpus=0)(_memory)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote()
        for node in nodes
        if node["Resources"].get("GPU", 0) >= 1
    ]
    found: list[int] = ray.get(asked)
    return min(found)


def _memory() -> int:
    import torch  # noqa: PLC0415 - not in the driver

    return int(torch.cuda.get_device_properties(0).total_memory)
