"""What a worker group is told when it starts."""

from dataclasses import dataclass, field

from perft.tasks import TaskSource


@dataclass(frozen=True, kw_only=True)
class WorkSettings:
    """What all worker groups of a search are told.

    Attributes:
        base_model: None for the built-in base, else a local directory or a hub id.
        dtype: dtype of the base, or "auto".
        experts: how the base's experts are computed, as `load_base` takes it.
        checkpointing: whether the base's layers run again in the backward pass.
        compile: whether the base is compiled; None for yes on GPUs alone.
        slots: trials that the group trains together.
        rung_accuracy: whether trials generate answers at every rung, not only at full length.
        task: where the task comes from.
        storage: folder of the search.
    """

    base_model: str | None
    dtype: str
    experts: str
    checkpointing: bool
    compile: bool | None
    slots: int
    rung_accuracy: bool
    task: TaskSource
    storage: str = field(repr=False)  # it may hold a key, and Ray shows what it is given


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """What one worker group is told; it travels through Ray Train.

    Attributes:
        group: number of the group, from 0.
        coordinator: name of the coordinator's actor.
        namespace: Ray namespace of that actor.
        threads: CPU threads of each worker.
        work: what all groups are told.
    """

    group: int
    coordinator: str
    namespace: str
    threads: int
    work: WorkSettings
