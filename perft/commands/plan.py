"""Prints how large a search space's adapters are on a base, and how many fit a device.

Only the base's configuration is read: no weights, no data, no Ray.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from perft.cli import explicit_options, option_name
from perft.errors import BaseModelError, ConfigError
from perft.files import Json
from perft.models.precision import require_precision
from perft.models.source import is_tiny
from perft.options import (
    MAX_SLOTS,
    MAX_STEPS,
    MAX_TRIALS,
    BaseOption,
    CheckpointingOption,
    JsonOption,
    QuantizeOption,
    QuietOption,
    StorageOption,
    WorkersOption,
    search_names,
    space_names,
)
from perft.screen import Output
from perft.searches import find_search
from perft.searching.extent import extent_of
from perft.searching.size_extremes import SizeExtreme, extreme_adapters
from perft.searching.space import Draw, find_space
from perft.searching.steering.forecast import SearchTime, Setup, time_like, time_of
from perft.selection.table import describe_adapter

if TYPE_CHECKING:
    from perft.searching.capacity import SpaceOnBase
    from perft.training.memory import PackMemory, StepWorkload

GIGABYTE = 10**9
PARTS = {
    "base": "base",
    "adapters": "adapters",
    "gradients": "gradi-\nents",
    "optimizer": "opti-\nmizer",
    "activations": "activa-\ntions",
    "transient": "tran-\nsient",
}
"""The fields of `PackMemory` that are shown, with their headings."""


def main(
    context: typer.Context,
    *,
    space: Annotated[
        str,
        typer.Option(help="Search space whose adapters are counted.", autocompletion=space_names),
    ],
    base_model: BaseOption = None,
    device_memory: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=1e6, help="GB of each worker's GPU.", show_default="do not look at it"
        ),
    ] = None,
    workers_per_group: WorkersOption = 1,
    quantize: QuantizeOption = "none",
    checkpointing: CheckpointingOption = False,
    seconds_per_step: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=1e6,
            help="Seconds in which a group trains all its slots by a step; says how long a search "
            "takes.",
            show_default="do not say",
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="The same as measured in the search of this name, with its steps, groups and "
            "slots.",
            show_default=False,
            autocompletion=search_names,
        ),
    ] = None,
    storage: StorageOption = None,
    num_trials: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_TRIALS, help="Trials in all.", show_default="the space's"),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=2, max=MAX_STEPS, help="Steps of a full-length trial.", show_default="the space's"
        ),
    ] = None,
    groups: Annotated[int, typer.Option(min=1, max=10_000, help="Worker groups.")] = 1,
    slots: Annotated[
        int, typer.Option(min=1, max=MAX_SLOTS, help="Trials a group trains together.")
    ] = 4,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0, max=1, help="GPUs of each worker, 0 for CPUs.")
    ] = 1.0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print the smallest and the largest adapter of every variant that a space can draw.

    With --device-memory also what one trial with the largest costs beside a bf16 base on a GPU, or
    one in fewer bits (--quantize), and how many such trials fit (--slots of a search). With
    --seconds-per-step or --like also how long a search takes.

    Works without weights: --base-model may be a directory with only a config.json, and of a hub
    id nothing else is fetched.

    Examples:
      perft plan --space arithmetic
      perft plan --space arithmetic --base-model path/of/base --device-memory 80
      perft plan --space arithmetic --seconds-per-step 0.4 --groups 2 --slots 8
      perft plan --space arithmetic --like first --num-trials 100
    """
    output = Output(as_json=as_json, quiet=quiet)
    asked = {
        "device_memory": device_memory is not None,
        "seconds_per_step": seconds_per_step is not None,
        "like": like is not None,
    }
    _require_used(explicit_options(context), [name for name, given in asked.items() if given])
    found = find_space(space)
    require_precision(quantize, workers=workers_per_group)
    configs = extreme_adapters(found, builtin=is_tiny(base_model))
    # Imported late: a mistake in the options shows at once, before torch is loaded.
    from perft.searching.capacity import count, step_workload  # noqa: PLC0415

    time: SearchTime | None = None
    trials = found.num_trials if num_trials is None else num_trials
    if like is not None:
        time = time_like(find_search(like, storage), trials)
    elif seconds_per_step is not None:
        steps = extent_of(Draw(found, is_tiny(base_model), 0, max_steps)).max_steps
        time = time_of(
            Setup(
                num_trials=trials,
                rungs=found.steps_of_rungs(steps),
                groups=groups,
                slots=slots,
                gpus=groups * workers_per_group * gpus_per_worker,
                seconds_per_step=seconds_per_step,
            )
        )
    plan = count(configs, base_model)
    memory = None
    if device_memory is not None:
        load = step_workload(
            found,
            base_model,
            workers=workers_per_group,
            quantize=quantize,
            checkpointing=checkpointing,
        )
        memory = _memory(plan, load, int(device_memory * GIGABYTE))
    answer: dict[str, Json] = {"space": space, "base": base_model, **_to_json(plan)}
    answer |= memory.to_json() if memory else {}
    answer |= {"time": time.to_json()} if time else {}
    output.document(answer)
    output.say(
        f"{base_model or 'built-in base'}: {plan.parameters:,} parameters, one token uses "
        f"{plan.activated:,}"
    )
    output.table(_table(plan.size_extremes))
    if memory is not None:
        if memory.unknown:
            output.say(memory.unknown)
        else:
            output.table(memory.table())
    for variant, reason in plan.refused.items():
        output.say(f"{variant}: {reason}")
    output.last(str(time) if time else _range_of(plan))


def _range_of(plan: "SpaceOnBase") -> str:
    """The smallest and the largest adapter of all variants in a line."""
    sizes = [size.activated for pair in plan.size_extremes.values() for _, size in pair]
    if not sizes:
        return "no adapter of this space fits the base"
    return f"adapters of {min(sizes):,} to {max(sizes):,} activated parameters"


_GOES_WITH = {
    "workers_per_group": ("device_memory", "seconds_per_step"),
    "quantize": ("device_memory",),
    "checkpointing": ("device_memory",),
    "num_trials": ("seconds_per_step", "like"),
    "max_steps": ("seconds_per_step",),
    "groups": ("seconds_per_step",),
    "slots": ("seconds_per_step",),
    "gpus_per_worker": ("seconds_per_step",),
    "storage": ("like",),
}
"""By option, those that use it."""


def _require_used(given: Mapping[str, object], asked: Sequence[str]) -> None:
    """Refuses options that would change nothing."""
    if {"seconds_per_step", "like"} <= set(asked):
        raise ConfigError("a step's seconds are given twice; leave out --like or the seconds")
    for name in given:
        users = _GOES_WITH.get(name, ())
        if users and not set(users) & set(asked):
            others = " or ".join(map(option_name, users))
            raise ConfigError(f"{option_name(name)} goes with {others}; leave it out")


@dataclass(frozen=True)
class _Memory:
    """What one trial with the largest adapter of each variant costs, and how many fit a device.

    If a base's costs cannot be predicted, `unknown` says why.
    """

    device: int
    costs: dict[str, "PackMemory"]
    unknown: str = ""

    def table(self) -> Table:
        """One row for each variant."""
        title = f"One trial with the largest adapter, and how many fit {_bytes(self.device)}"
        table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("variant", no_wrap=True)
        for heading in (*PARTS.values(), "fit"):
            table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
        for variant, cost in self.costs.items():
            parts = [_bytes(getattr(cost, part)) for part in PARTS]
            table.add_row(variant, *parts, f"{cost.trials_in(self.device):,}")
        return table

    def to_json(self) -> dict[str, Json]:
        """Bytes by part, and `fit`, for each variant."""
        costs: dict[str, Json] = {
            variant: {
                **{part: getattr(cost, part) for part in PARTS},
                "fit": cost.trials_in(self.device),
            }
            for variant, cost in self.costs.items()
        }
        return {"memory": costs, "device_memory": self.device, "memory_unknown": self.unknown}


def _memory(counted: "SpaceOnBase", load: "StepWorkload", device: int) -> _Memory:
    from perft.searching.capacity import largest_costs  # noqa: PLC0415

    try:
        return _Memory(device, largest_costs(counted, load))
    except BaseModelError as error:
        return _Memory(device, {}, str(error))


def _table(found: Mapping[str, tuple[SizeExtreme, SizeExtreme]]) -> Table:
    table = Table(
        title="Smallest and largest adapters: parameters, in percent of the base's activated ones",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("adapter", overflow="fold")
    for heading in ("trainable", "%", "activated", "%", "on disk", "AdamW"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in found.values():
        for config, size in dict.fromkeys(pair):
            table.add_row(
                describe_adapter(config),
                f"{size.trainable:,}",
                f"{size.trainable_percent:.3f}",
                f"{size.activated:,}",
                f"{size.activated_percent:.3f}",
                _bytes(size.disk_bytes),
                _bytes(size.optimizer_bytes),
            )
    return table


def _bytes(count: int) -> str:
    unit, size = next(
        (unit, size)
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))
        if count >= size or unit == "B"
    )
    return f"{count / size:,.1f} {unit}"


def _to_json(plan: "SpaceOnBase") -> dict[str, Json]:
    def entry(extreme: SizeExtreme) -> dict[str, Json]:
        config, size = extreme
        return {
            "config": config.to_flat(),
            "trainable": size.trainable,
            "trainable_percent": size.trainable_percent,
            "activated": size.activated,
            "activated_percent": size.activated_percent,
            "disk_bytes": size.disk_bytes,
            "optimizer_bytes": size.optimizer_bytes,
        }

    return {
        "base_parameters": plan.parameters,
        "base_activated": plan.activated,
        "size_extremes": {
            variant: {"smallest": entry(smallest), "largest": entry(largest)}
            for variant, (smallest, largest) in plan.size_extremes.items()
        },
        "refused": plan.refused,
    }
