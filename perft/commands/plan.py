"""Prints how large a search space's adapters are on a base, and how many fit a device.

Only the base's configuration is read: no weights, no data, no Ray.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table

from perft.cli import explicit_options, option_name
from perft.errors import BaseModelError, ConfigError
from perft.options import BaseOption, CheckpointingOption, WorkersOption
from perft.screen import print_table, screen
from perft.search.size_extremes import SizeExtreme, extreme_adapters
from perft.search.space import find_space
from perft.selection.table import describe_adapter

if TYPE_CHECKING:
    from perft.search.capacity import SpaceOnBase
    from perft.training.memory import PackMemory, StepWorkload

GIGABYTE = 10**9
PARTS = ("base", "adapters", "gradients", "optimizer", "activations", "transient")
"""The fields of `PackMemory` that are shown."""


def main(
    context: typer.Context,
    *,
    space: Annotated[str, typer.Option(help="Search space whose adapters are counted.")],
    base_model: BaseOption = None,
    device_memory: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=1e6, help="GB of each worker's GPU.", show_default="do not look at it"
        ),
    ] = None,
    workers_per_group: WorkersOption = 1,
    checkpointing: CheckpointingOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Print the smallest and the largest adapter of every variant that a space can draw.

    With --device-memory also what one trial with the largest costs beside a bf16 base on a GPU, and
    how many such trials fit (--slots of a search).

    Works without weights: --base-model may be a directory with only a config.json, and of a hub
    id nothing else is fetched.
    """
    for name in ("workers_per_group", "checkpointing"):
        if device_memory is None and name in explicit_options(context):
            raise ConfigError(f"{option_name(name)} goes with --device-memory; leave it out")
    found = find_space(space)
    configs = extreme_adapters(found, builtin=base_model is None)
    # Imported late: a mistake in the options shows at once, before torch is loaded.
    from perft.search.capacity import count, step_workload  # noqa: PLC0415

    plan = count(configs, base_model)
    memory = None
    if device_memory is not None:
        load = step_workload(
            found, base_model, workers=workers_per_group, checkpointing=checkpointing
        )
        memory = _memory(plan, load, int(device_memory * GIGABYTE))
    if as_json:
        answer = {"space": space, "base": base_model, **_to_json(plan)}
        print(json.dumps({**answer, **(memory.to_json() if memory else {})}, indent=1))
        return
    console = screen()
    console.print(
        f"{base_model or 'built-in base'}: {plan.parameters:,} parameters, one token uses "
        f"{plan.activated:,}",
        highlight=False,
        soft_wrap=True,
    )
    print_table(console, _table(plan.size_extremes))
    if memory is not None:
        if memory.unknown:
            console.print(memory.unknown, soft_wrap=True)
        else:
            print_table(console, memory.table())
    for variant, reason in plan.refused.items():
        console.print(f"{variant}: {reason}", highlight=False, soft_wrap=True)


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
        for heading in ("variant", *PARTS, "fit"):
            justify: JustifyMethod = "left" if heading == "variant" else "right"
            table.add_column(heading, justify=justify, no_wrap=True)
        for variant, cost in self.costs.items():
            parts = [_bytes(getattr(cost, part)) for part in PARTS]
            table.add_row(variant, *parts, f"{cost.trials_in(self.device):,}")
        return table

    def to_json(self) -> dict[str, object]:
        """Bytes by part, and `fit`, for each variant."""
        costs = {
            variant: {
                **{part: getattr(cost, part) for part in PARTS},
                "fit": cost.trials_in(self.device),
            }
            for variant, cost in self.costs.items()
        }
        return {"memory": costs, "device_memory": self.device, "memory_unknown": self.unknown}


def _memory(counted: "SpaceOnBase", load: "StepWorkload", device: int) -> _Memory:
    from perft.search.capacity import largest_costs  # noqa: PLC0415

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


def _to_json(plan: "SpaceOnBase") -> dict[str, object]:
    def entry(extreme: SizeExtreme) -> dict[str, object]:
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
