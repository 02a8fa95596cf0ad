"""How worker groups are placed on the machines of a cluster: pure functions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perft.errors import SearchError

SLOTS_ON_A_GPU = 8
"""Largest number of trials that a group trains together on GPUs, unless the user sets it."""

TRIALS_ON_CPUS = 4
"""Trials that all groups together train at once on CPUs, unless the user sets it."""

_KIND = "accelerator_type:"
"""Prefix of the resource by which Ray names a machine's kind of GPU."""


@dataclass(frozen=True, kw_only=True)
class GroupShape:
    """How the worker groups are placed on a cluster.

    Attributes:
        groups: number of groups.
        workers: processes per group, over which the base is sharded.
        slots: trials that one group trains together.
        gpus: GPUs per worker: 0, 1, or a fraction of one.
        cpus: CPUs per worker.
        accelerator: the kind of GPU of all workers, as Ray names it; "" for any.
    """

    groups: int
    workers: int
    slots: int
    gpus: float
    cpus: int
    accelerator: str = ""

    @property
    def use_gpu(self) -> bool:
        """Whether workers train on GPUs."""
        return self.gpus > 0

    @property
    def trials_at_once(self) -> int:
        """Trials that all groups together train at a time."""
        return self.groups * self.slots

    @property
    def total_gpus(self) -> float:
        """GPUs of all groups; 0 on CPUs."""
        return self.groups * self.workers * self.gpus

    @property
    def each(self) -> dict[str, float]:
        """Resources of one worker, as Ray names them."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    @property
    def needs(self) -> str:
        """Resources of one group, such as "8 x (3 CPU, 1 GPU)"."""
        kind = f" {self.accelerator}" if self.accelerator else ""
        gpus = f", {self.gpus:g} GPU{kind}" if self.gpus else ""
        return f"{self.workers} x ({self.cpus} CPU{gpus})"


def has_gpu(resources: Mapping[str, float]) -> bool:
    """Whether a machine has a GPU."""
    return resources.get("GPU", 0) >= 1


def kind_of(resources: Mapping[str, float]) -> str:
    """The kind of a machine's GPUs, such as "H100"; "" if Ray does not know it."""
    return next((name.removeprefix(_KIND) for name in resources if name.startswith(_KIND)), "")


def fit_to_cluster(
    groups: int | None,
    workers: int,
    slots: int | None,
    nodes: Sequence[Mapping[str, float]],
    num_trials: int,
    *,
    gpus: float | None = None,
) -> GroupShape:
    """Places the groups on a cluster.

    All workers have GPUs of one kind, the most frequent that suffices: memory, speed and rounding
    differ between kinds.

    Args:
        groups: number of worker groups; None for as many as there are GPUs for, or, on CPUs, up to
            `TRIALS_ON_CPUS`, so that each trial has a core if there are enough.
        workers: workers per group.
        slots: trials per group; None for `SLOTS_ON_A_GPU`, or, on CPUs, for `TRIALS_ON_CPUS` in
            all groups together: a search is then the same on every such machine.
        nodes: resources of each machine, as Ray counts them; a worker lies on one machine.
        num_trials: trials of the search; by default there are no more groups than that.
        gpus: GPUs per worker, 0 for CPUs; None for one where there are GPUs, else shared CPUs.

    Raises:
        SearchError: if the cluster is too small.
    """
    if gpus is None:
        gpus = 1.0 if any(map(has_gpu, nodes)) else 0.0
    if not gpus:
        return _fit(groups, workers, slots, nodes, num_trials, gpus=0.0)
    nodes = [node for node in nodes if has_gpu(node)]
    kinds: Counter[str] = Counter()
    for node in nodes:
        kinds[kind_of(node)] += int(node["GPU"])
    for kind in sorted(kinds, key=lambda kind: (-kinds[kind], kind)) if len(kinds) > 1 else ():
        try:
            same = [node for node in nodes if kind_of(node) == kind]
            return _fit(groups, workers, slots, same, num_trials, gpus=gpus, kind=kind)
        except SearchError:
            continue
    return _fit(groups, workers, slots, nodes, num_trials, gpus=gpus)


def _fit(
    groups: int | None,
    workers: int,
    slots: int | None,
    nodes: Sequence[Mapping[str, float]],
    num_trials: int,
    *,
    gpus: float,
    kind: str = "",
) -> GroupShape:
    """Like `fit_to_cluster`, on all of the given machines."""
    room = [(int(node.get("CPU", 0)), int(node.get("GPU", 0) / (gpus or 1))) for node in nodes]
    found = {
        "GPUs": int(sum(node.get("GPU", 0) for node in nodes)),
        "CPUs": sum(cpus for cpus, _ in room),
    }
    places = sum(places for _, places in room) if gpus else found["CPUs"]
    groups = groups or _groups_for(
        min(places, found["CPUs"]), workers, num_trials, use_gpu=bool(gpus)
    )
    slots = slots or (SLOTS_ON_A_GPU if gpus else max(1, TRIALS_ON_CPUS // groups))
    total = groups * workers
    if gpus and places < total:
        raise _too_small(groups, workers, f"{total * gpus:g} GPUs", found["GPUs"])
    if found["CPUs"] < total:
        raise _too_small(groups, workers, f"{total} CPUs", found["CPUs"])

    def holds(cpus_each: int) -> bool:
        fit = [min(cpus // cpus_each, places if gpus else cpus) for cpus, places in room]
        return sum(fit) >= total

    cpus_each = next((n for n in range(max(room)[0], 0, -1) if holds(n)), None)
    if cpus_each is None:
        raise SearchError(
            f"{groups} groups of {workers} workers need a GPU and a CPU of the same machine for "
            "each worker, the cluster has too few; lower --groups or --workers-per-group"
        )
    return GroupShape(
        groups=groups, workers=workers, slots=slots, gpus=gpus, cpus=cpus_each, accelerator=kind
    )


def _groups_for(possible: int, workers: int, num_trials: int, *, use_gpu: bool) -> int:
    most = min(possible // workers, num_trials)
    if not use_gpu:
        most = max((n for n in (1, 2, TRIALS_ON_CPUS) if n <= most), default=1)
    return max(1, most)


def _too_small(groups: int, workers: int, needed: str, found: int) -> SearchError:
    return SearchError(
        f"{groups} groups of {workers} workers need {needed}, the cluster has {found}; lower "
        "--groups or --workers-per-group"
    )
