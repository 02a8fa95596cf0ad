"""The settings of a worker group."""

from dataclasses import dataclass, field

from perft.config import FurtherMeasures
from perft.tasks import TaskSource


@dataclass(frozen=True, kw_only=True)
class WorkSettings:
    """Settings that all worker groups of a search share.

    Attributes:
        base_model: None for the built-in base, else a local directory or a hub id.
        dtype: dtype of the base, or "auto".
        experts: how the base's experts are computed, as `load_base` takes it.
        quantize: how the base's large weights are held, as `load_base` takes it.
        checkpointing: whether the base's layers are recomputed in the backward pass.
        compile: whether the base is compiled; None for only on GPUs.
        slots: trials that the group trains together.
        rung_accuracy: whether trials generate answers at every rung, not only at full length.
        further: what else is measured of full-length trials.
        task: where the task comes from.
        storage: folder of the search.
    """

    base_model: str | None
    dtype: str
    experts: str
    quantize: str
    checkpointing: bool
    compile: bool | None
    slots: int
    rung_accuracy: bool
    further: FurtherMeasures
    task: TaskSource
    storage: str = field(repr=False)  # it may hold a key, and Ray prints its arguments


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """Settings of one worker group; sent through Ray Train.

    Attributes:
        group: number of the group, from 0.
        coordinator: name of the coordinator's actor.
        namespace: Ray namespace of that actor.
        threads: CPU threads of each worker.
        work: settings that all groups share.
    """

    group: int
    coordinator: str
    namespace: str
    threads: int
    work: WorkSettings
