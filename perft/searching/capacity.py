"""Memory of a search space's adapters on a base, and how many a GPU holds, before loading any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from perft.config import AdapterConfig
from perft.errors import AdapterError, BaseModelError, SearchError
from perft.injection import AdapterHost
from perft.models.skeleton import skeleton
from perft.models.source import is_tiny
from perft.searching.extent import extent_of
from perft.searching.size_extremes import SizeExtreme, extreme_adapters, size_extremes
from perft.searching.space import Draw, SearchSpace
from perft.training.memory import PackMemory, StepWorkload, pack_memory
from perft.training.microbatches import TOKENS_ON_ACCELERATOR
from perft.training.objective import OBJECTIVES
from perft.trial import AdapterSize

_ANY_STEPS = 100  # the number of steps takes no memory

USABLE = 0.85
"""Share of a GPU's memory that plans may use: predictions are within 15%."""


@dataclass(frozen=True)
class SpaceOnBase:
    """Parameter counts of a base and of a space's adapters on it.

    Attributes:
        config: the base's.
        parameters: of the base.
        activated: parameters of the base that one token uses.
        size_extremes: by variant that fits the base, its smallest and largest adapter.
        refused: by other variant, why it does not fit.
    """

    config: PreTrainedConfig
    parameters: int
    activated: int
    size_extremes: Mapping[str, tuple[SizeExtreme, SizeExtreme]]
    refused: Mapping[str, str]


def count(configs: Sequence[AdapterConfig], base_model: str | None) -> SpaceOnBase:
    """Counts adapters on a base, from its `config.json` alone.

    Args:
        configs: from `extreme_adapters`.
        base_model: None for the built-in base, else a local directory or a hub id.
    """
    host = AdapterHost(skeleton(base_model))
    sizes: dict[AdapterConfig, AdapterSize] = {}
    refused: dict[str, str] = {}
    for config in configs:
        try:
            sizes[config] = host.size(config)
        except (AdapterError, BaseModelError) as error:
            refused[config.variant] = str(error)
    parameters = sum(parameter.numel() for parameter in host.model.parameters())
    return SpaceOnBase(
        host.model.config, parameters, host.base_activated, size_extremes(sizes), refused
    )


def step_workload(
    space: SearchSpace,
    base_model: str | None,
    *,
    workers: int = 1,
    dtype: str = "auto",
    experts: str = "auto",
    quantize: str = "none",
    checkpointing: bool = False,
) -> StepWorkload:
    """The largest workload of a trial of the space in a step on GPUs; arguments as a search's.

    Trials of all batch sizes and lengths may share a step, so the largest of both count.

    Raises:
        ConfigError: if the space draws trials that do not make sense.
    """
    extent = extent_of(Draw(space, is_tiny(base_model), seed=0, max_steps=_ANY_STEPS))
    return StepWorkload(
        rows=extent.largest_batch * (1 + OBJECTIVES[extent.objective].reads_pairs),
        length=extent.longest,
        tokens=TOKENS_ON_ACCELERATOR,
        dtype=torch.bfloat16 if dtype == "auto" else getattr(torch, dtype),
        ranks=workers,
        experts=experts,
        quantize=quantize,
        checkpointing=checkpointing,
        fixed=True,
        objective=extent.objective,
    )


def largest_costs(counted: SpaceOnBase, load: StepWorkload) -> dict[str, PackMemory]:
    """By variant, the memory of one trial with its largest adapter.

    Raises:
        BaseModelError: if the base's memory cannot be predicted.
    """
    return {
        variant: pack_memory(counted.config, [largest], load)
        for variant, (_, (largest, _size)) in counted.size_extremes.items()
    }


def slots_in(
    memory: int, space: SearchSpace, base_model: str | None, load: StepWorkload
) -> int | None:
    """How many trials, whatever their variant, a GPU holds at once; None if unpredictable.

    Args:
        memory: of each worker's GPU, in bytes.
        space: the search space.
        base_model: None for the built-in base, else a local directory or a hub id.
        load: from `step_workload`.

    Raises:
        SearchError: if it does not hold a single one.
    """
    counted = count(extreme_adapters(space, builtin=is_tiny(base_model)), base_model)
    try:
        costs = largest_costs(counted, load)
    except BaseModelError:
        return None
    most = max(costs.values(), key=lambda cost: cost.total)
    slots = min(cost.trials_in(int(memory * USABLE)) for cost in costs.values())
    if slots < 1:
        raise SearchError(
            f"one trial on {base_model or 'the built-in base'} would take {most.total / 1e9:.1f} "
            f"GB on each worker, {most.base / 1e9:.1f} GB of them for the base, and a GPU here has "
            f"{memory / 1e9:.1f} GB, of which {USABLE:.0%} are planned with; share the base among "
            "more --workers-per-group, add --quantize or --checkpointing, or say --slots 1 to try "
            "all the same"
        )
    return slots
