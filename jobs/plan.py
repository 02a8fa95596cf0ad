"""Prints how large a search space's adapters are on a base, and how many fit a device.

Only the base's configuration is read: no weights, no data, no Ray.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from perft.cli import BaseOption, CheckpointingOption, run
from perft.config import AdapterConfig, Variant
from perft.errors import AdapterError, BaseModelError
from perft.search.corners import Corner, corners, extreme_adapters
from perft.search.space import SearchSpace, find_space
from perft.selection.table import describe_adapter
from perft.trial import AdapterSize

if TYPE_CHECKING:
    from perft.training.memory import PackMemory

GIGABYTE = 10**9
PARTS = ("base", "adapters", "gradients", "optimizer", "activations", "working")
"""Of what `PackMemory` counts."""


def main(
    *,
    space: Annotated[str, typer.Option(help="Search space whose corner cases are counted.")],
    base_model: BaseOption = None,
    device_memory: Annotated[
        float | None,
        typer.Option(min=0.1, help="GB of each worker's GPU.", show_default="do not look at it"),
    ] = None,
    workers_per_group: Annotated[
        int, typer.Option(min=1, help="Processes that share one sharded base.")
    ] = 1,
    checkpointing: CheckpointingOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Print the smallest and the largest adapter of every variant that a space can draw.

    With --device-memory also what one trial with the largest costs beside a bf16 base on a GPU, and
    how many such trials fit (--slots of a search).

    Works without weights: --base-model may be a directory with only a config.json, and of a hub
    id nothing else is fetched.
    """
    found = find_space(space)
    configs = extreme_adapters(found, embedded=base_model is None)
    plan = _count(configs, base_model)
    memory = None
    if device_memory is not None:
        memory = _memory(
            found, base_model, workers_per_group, checkpointing, int(device_memory * GIGABYTE)
        )
    if as_json:
        answer = {"space": space, "base": base_model, **_to_json(plan)}
        print(json.dumps({**answer, **(memory.to_json() if memory else {})}, indent=1))
        return
    console = Console()
    console.print(
        f"{base_model or 'embedded base'}: {plan.parameters:,} parameters, one token uses "
        f"{plan.activated:,}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table(plan.corners))
    if memory is not None:
        console.print(memory.unknown or memory.table(), highlight=False, soft_wrap=True)
    for variant, reason in plan.refused.items():
        console.print(f"{variant}: {reason}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Plan:
    """What was counted on a base: its parameters, the corner cases, and what it refuses."""

    parameters: int
    activated: int
    corners: dict[Variant, tuple[Corner, Corner]]
    refused: dict[Variant, str]


def _count(configs: tuple[AdapterConfig, ...], base_model: str | None) -> _Plan:
    # Imported late: a mistake in the options shows at once, not after torch has loaded.
    from perft.injection import AdapterHost  # noqa: PLC0415
    from perft.models.skeleton import skeleton  # noqa: PLC0415

    host = AdapterHost(skeleton(base_model))
    sizes: dict[AdapterConfig, AdapterSize] = {}
    refused: dict[Variant, str] = {}
    for config in configs:
        try:
            sizes[config] = host.size(config)
        except (AdapterError, BaseModelError) as error:
            refused[config.variant] = str(error)
    parameters = sum(parameter.numel() for parameter in host.model.parameters())
    return _Plan(parameters, host.base_activated, corners(sizes), refused)


@dataclass(frozen=True)
class _Memory:
    """What one trial with the largest adapter of each variant costs, and how many fit a device.

    Of a base whose costs cannot be known, `unknown` says why.
    """

    device: int
    costs: dict[Variant, "PackMemory"]
    unknown: str = ""

    def table(self) -> Table:
        """One row for each variant."""
        title = f"One trial with the largest adapter, and how many fit {_bytes(self.device)}"
        table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in ("variant", *PARTS, "fit"):
            table.add_column(heading, justify="left" if heading == "variant" else "right")
        for variant, cost in self.costs.items():
            parts = [_bytes(getattr(cost, part)) for part in PARTS]
            table.add_row(variant, *parts, f"{cost.trials_in(self.device):,}")
        return table

    def to_json(self) -> dict[str, Any]:
        """Bytes by part, and `fit`, for each variant."""
        costs = {
            variant: {
                **{part: getattr(cost, part) for part in PARTS},
                "fit": cost.trials_in(self.device),
            }
            for variant, cost in self.costs.items()
        }
        return {"memory": costs, "device_memory": self.device, "memory_unknown": self.unknown}


def _memory(
    space: SearchSpace, base_model: str | None, workers: int, checkpointing: bool, device: int
) -> _Memory:
    from perft.search.fit import largest_costs, step_load  # noqa: PLC0415

    load = step_load(space, base_model, workers=workers, checkpointing=checkpointing)
    try:
        return _Memory(device, largest_costs(space, base_model, load))
    except BaseModelError as error:
        return _Memory(device, {}, str(error))


def _table(found: dict[Variant, tuple[Corner, Corner]]) -> Table:
    table = Table(
        title="Corner cases: parameters, in percent of the base's activated ones",
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


def _to_json(plan: _Plan) -> dict[str, Any]:
    def entry(corner: Corner) -> dict[str, Any]:
        config, size = corner
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
        "corners": {
            variant: {"smallest": entry(smallest), "largest": entry(largest)}
            for variant, (smallest, largest) in plan.corners.items()
        },
        "refused": plan.refused,
    }


if __name__ == "__main__":
    run(main)
