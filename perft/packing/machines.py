"""What the machines of a cluster have, and what its autoscaler can add."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import ray
import yaml
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from perft.compat.ray import autoscaler_configurations, most_resources, pynvml
from perft.errors import SearchError, StorageError
from perft.models.compilers import missing_compiler, require_compiler
from perft.packing.shape import GroupShape, has_gpu
from perft.storage import Storage

About = TypeVarTuple("About")
Answer = TypeVar("Answer")

Node = dict[str, Any]
"""A machine, as `ray.nodes` describes it."""

ANSWER_SECONDS = 120.0
"""Time for the machines to answer; Ray may need most of it to start a process there."""


def alive_nodes() -> list[Node]:
    """The machines of the cluster that are up."""
    return [node for node in ray.nodes() if node["Alive"]]


@functools.cache
def address_of(node: str) -> str:
    """The address of a machine; `node` is Ray's id of it, given back if it is unknown."""
    return next((n["NodeManagerAddress"] for n in ray.nodes() if n["NodeID"] == node), node)


def gpu_memory(nodes: Sequence[Node]) -> int:
    """Bytes of memory of the smallest GPU, busy or not.

    Args:
        nodes: of a cluster, at least one with a GPU.

    Raises:
        SearchError: if a machine does not answer.
    """
    with_gpus = [node for node in nodes if has_gpu(node["Resources"])]
    wanted = "how much memory its GPU has; say --slots N"
    return int(min(_answers(with_gpus, wanted, _memory)))


def require_shared(storage: Storage, file: str, nodes: Sequence[Node], *, gpus: bool) -> None:
    """Checks that every machine that may hold workers sees a file that this machine has written.

    Args:
        storage: the folder that all must share.
        file: a file in it.
        nodes: of the cluster.
        gpus: whether only machines with GPUs hold workers.

    Raises:
        SearchError: if one cannot see it.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes if node["NodeID"] != here and _may_hold(node, gpus)]
    answers = _answers(others, f"whether it sees {storage.shown}", _unseen, storage.uri, file)
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


def require_compilers(nodes: Sequence[Node], *, gpus: bool) -> None:
    """Checks that a base can be compiled on every machine that may hold workers.

    Args:
        nodes: of the cluster.
        gpus: whether only machines with GPUs hold workers.

    Raises:
        ConfigError: says what to install, and where.
        SearchError: if a machine does not answer.
    """
    asked = [node for node in nodes if _may_hold(node, gpus)]
    found = _answers(
        asked, "whether it has a compiler", missing_compiler, "cuda" if gpus else "cpu"
    )
    for node, missing in zip(asked, found, strict=True):
        require_compiler(missing, f" on {node['NodeManagerAddress']}")


def waiting_groups(shape: GroupShape) -> int:
    """Number of worker groups of that shape that wait for resources."""
    wanted = [shape.each] * shape.workers
    return sum(
        found["state"] in ("PENDING", "RESCHEDULING") and _same(found["bundles"].values(), wanted)
        for found in ray.util.placement_group_table().values()
    )


def _same(bundles: Iterable[Mapping[str, float]], wanted: Sequence[dict[str, float]]) -> bool:
    asked = [{name: one[name] for name in ("CPU", "GPU") if one.get(name)} for one in bundles]
    return asked == list(wanted)


def free_resources(nodes: Sequence[Node]) -> str:
    """What a cluster has and how much of it is free, such as "8 CPU (2 free), 4 GPU (0 free)"."""
    free = ray.available_resources()
    total = {kind: sum(n["Resources"].get(kind, 0) for n in nodes) for kind in ("CPU", "GPU")}
    return ", ".join(f"{n:g} {kind} ({free.get(kind, 0):g} free)" for kind, n in total.items())


@contextlib.contextmanager
def machines_requested(shape: GroupShape) -> Iterator[None]:
    """Inside, the cluster's autoscaler is asked for what the groups need."""
    bundles = [shape.each] * shape.workers
    asked: list[PlacementGroup] = [placement_group(bundles) for _ in range(shape.groups)]
    try:
        yield
    finally:
        for each in asked:
            remove_placement_group(each)


def autoscaler_brings_gpus() -> bool:
    """Whether the cluster has an autoscaler known to bring up machines with GPUs.

    Known from the cluster, or from the configuration on this machine that started it.
    """
    files = autoscaler_configurations(ray.get_runtime_context().gcs_address)
    return has_gpu(most_resources()) or any(map(_brings_gpus, files))


def _brings_gpus(configuration: Path) -> bool:
    unreadable = (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError)
    with contextlib.suppress(*unreadable):
        types = yaml.safe_load(configuration.read_text())["available_node_types"]
        return any(has_gpu(each.get("resources") or {}) for each in types.values())
    return False


def _may_hold(node: Node, gpus: bool) -> bool:
    """Whether a machine may hold workers."""
    return has_gpu(node["Resources"]) if gpus else node["Resources"].get("CPU", 0) >= 1


def _answers(
    nodes: Sequence[Node], what: str, question: Callable[[*About], Answer], *about: *About
) -> list[Answer]:
    """Each machine's answer to `question`; `what` names it in errors.

    Raises:
        SearchError: if one does not answer in time.
    """
    asked = [_ask(node, question, *about) for node in nodes]
    deadline = time.monotonic() + ANSWER_SECONDS
    answers = []
    for node, answer in zip(nodes, asked, strict=True):
        try:
            answers.append(ray.get(answer, timeout=max(0.0, deadline - time.monotonic())))
        except ray.exceptions.RayError as error:
            late = isinstance(error, ray.exceptions.GetTimeoutError)
            why = f"within {ANSWER_SECONDS:.0f} s" if late else f"({_last_line(error)})"
            address = node["NodeManagerAddress"]
            raise SearchError(f"the machine {address} does not say {why} {what}") from error
    return answers


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _ask(
    node: Node, question: Callable[[*About], Answer], *about: *About
) -> "ray.ObjectRef[Answer]":
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    # One call per process, so that its GPU memory is freed.
    task = ray.remote(num_cpus=0, max_calls=1)(question)
    return task.options(scheduling_strategy=there).remote(*about)


def _memory() -> int:
    """Bytes of memory of this machine's smallest GPU; allocates none of it."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # not of NVIDIA
        import torch  # noqa: PLC0415 - not in the driver

        seen = range(torch.cuda.device_count())
        if not seen:
            raise SearchError("Ray counts a GPU there, and torch finds none") from None
        return min(torch.cuda.get_device_properties(each).total_memory for each in seen)
    cards = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
    devices = [device for card in cards for device in _parts(card) or [card]]
    return min(int(pynvml.nvmlDeviceGetMemoryInfo(device).total) for device in devices)


def _parts(card: "pynvml.c_nvmlDevice_t") -> list["pynvml.c_nvmlDevice_t"]:
    """The MIG instances of a card; empty if it is not divided."""
    found = []
    with contextlib.suppress(pynvml.NVMLError):
        for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(card)):
            with contextlib.suppress(pynvml.NVMLError):
                found.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number))
    return found


def _unseen(place: str, file: str) -> str:
    """Why this machine cannot see a file; empty if it can."""
    try:
        return "" if Storage(place).exists(file) else "it is not there"
    except StorageError as error:
        return str(error)
