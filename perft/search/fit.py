"""How many trials of a search space a GPU holds, known before any is loaded."""

import torch

from perft.config import Variant
from perft.errors import AdapterError, BaseModelError, SearchError
from perft.injection import AdapterHost
from perft.models.skeleton import skeleton
from perft.search.corners import corners, extreme_adapters
from perft.search.space import SearchSpace
from perft.training.memory import Load, PackMemory, pack_memory
from perft.training.passes import tokens_per_pass

USABLE = 0.85
"""Share of a GPU's memory that is planned with: costs are foretold within 15%."""


def step_load(
    space: SearchSpace,
    base_model: str | None,
    *,
    workers: int = 1,
    dtype: str = "auto",
    checkpointing: bool = False,
) -> Load:
    """What a trial of the space brings to a step on GPUs; arguments as those of a search."""
    training = space.training(base_model is None)
    return Load(
        rows=training.batch_size,
        length=training.max_length,
        tokens=tokens_per_pass("cuda"),
        dtype=torch.bfloat16 if dtype == "auto" else getattr(torch, dtype),
        ranks=workers,
        checkpointing=checkpointing,
    )


def largest_costs(
    space: SearchSpace, base_model: str | None, load: Load
) -> dict[Variant, PackMemory]:
    """What one trial with the largest adapter of each variant that the base takes costs.

    Raises:
        BaseModelError: if the base's costs cannot be known before it runs.
    """
    base = skeleton(base_model)
    host = AdapterHost(base)
    sizes = {}
    for config in extreme_adapters(space, embedded=base_model is None):
        try:
            sizes[config] = host.size(config)
        except (AdapterError, BaseModelError):  # its trials will fail, whatever the slots
            continue
    return {
        variant: pack_memory(base.config, [largest], load)
        for variant, (_, (largest, _size)) in corners(sizes).items()
    }


def slots_in(memory: int, space: SearchSpace, base_model: str | None, load: Load) -> int | None:
    """Trials of any kind that a GPU holds at a time; None if that cannot be known.

    Args:
        memory: of each worker's GPU, in bytes.
        space: what the trials are drawn from.
        base_model: None for the embedded base, else a local directory or a hub id.
        load: from `step_load`.

    Raises:
        SearchError: if there is no room for a single one.
    """
    try:
        costs = largest_costs(space, base_model, load)
    except BaseModelError:
        return None
    most = max(costs.values(), key=lambda cost: cost.total)
    slots = min(cost.trials_in(int(memory * USABLE)) for cost in costs.values())
    if slots < 1:
        raise SearchError(
            f"one trial on {base_model or 'the embedded base'} would take {most.total / 1e9:.1f} "
            f"GB on each worker, {most.base / 1e9:.1f} GB of them for the base, and a GPU here has "
            f"{memory / 1e9:.1f} GB, of which {USABLE:.0%} are planned with; share the base among "
            "more --workers-per-group, add --checkpointing, or say --slots 1 to try all the same"
        )
    return slots
