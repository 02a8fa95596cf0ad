"""What the machines of a cluster have: asked of Ray tasks that run there."""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from perft.errors import SearchError, StorageError
from perft.models.compilers import missing_compiler, require_compiler
from perft.storage import Storage

Node = dict[str, Any]
"""A machine, as `ray.nodes` has it."""


def gpu_memory(nodes: Sequence[Node]) -> int:
    """Bytes of the smallest GPU: one of each machine is asked, and waited for while it is busy.

    Args:
        nodes: of a cluster, at least one with a GPU.
    """
    asked = [_ask(node, _memory, gpus=1) for node in nodes if node["Resources"].get("GPU", 0) >= 1]
    found: list[int] = ray.get(asked)
    return min(found)


def require_shared(storage: Storage, file: str, nodes: Sequence[Node]) -> None:
    """Asks the machines that may hold workers for a file that this one has written.

    Args:
        storage: the folder that all are to share.
        file: of that folder.
        nodes: of the cluster; workers lie on those with GPUs, where there are any.

    Raises:
        SearchError: if some cannot see it.
    """
    kind = "GPU" if any(node["Resources"].get("GPU", 0) >= 1 for node in nodes) else "CPU"
    here = ray.get_runtime_context().get_node_id()
    others = [
        node for node in nodes if node["NodeID"] != here and node["Resources"].get(kind, 0) >= 1
    ]
    answers = ray.get([_ask(node, _unseen, storage.place, file) for node in others])
    unseen = [
        (node["NodeManagerAddress"], why) for node, why in zip(others, answers, strict=True) if why
    ]
    if unseen:
        address, why = unseen[0]
        raise SearchError(
            f"{len(unseen)} of the cluster's {len(nodes)} machines cannot see what this one writes "
            f"to {storage.shown}, {address} among them ({why}); give a --storage that all share, "
            "on a shared file system or an object store"
        )


def require_compilers(nodes: Sequence[Node]) -> None:
    """Asks the machines that may hold workers whether a base can be compiled there.

    Raises:
        ConfigError: says what to install, and where.
    """
    with_gpus = [node for node in nodes if node["Resources"].get("GPU", 0) >= 1]
    device = "cuda" if with_gpus else "cpu"
    asked = [_ask(node, missing_compiler, device) for node in with_gpus or nodes]
    for node, missing in zip(with_gpus or nodes, ray.get(asked), strict=True):
        require_compiler(missing, f" on {node['NodeManagerAddress']}")


def _ask(node: Node, question: Callable[..., Any], *about: Any, gpus: int = 0) -> Any:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(num_cpus=0, num_gpus=gpus)(question)
    return task.options(scheduling_strategy=there).remote(*about)


def _memory() -> int:
    import torch  # noqa: PLC0415 - not in the driver

    return int(torch.cuda.get_device_properties(0).total_memory)


def _unseen(place: str, file: str) -> str:
    """Why a file cannot be seen from here; empty where it can."""
    try:
        return "" if Storage(place).exists(file) else "it is not there"
    except StorageError as error:
        return str(error)
