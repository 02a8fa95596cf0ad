"""Writes the configurations of published bases, and plans a search on each for several machines.

    python docs/recipes/plan_bases.py --configs bases --num-trials 64

Sizes are those of the bases' model cards on the hub; no weights are needed or fetched. Memory is
what `perft plan` predicts. Seconds of a step are an estimate, see `seconds_of_step`.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import (
    GptOssConfig,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
)

from perft.errors import SearchError
from perft.searching.capacity import USABLE, SpaceOnBase, count, largest_costs, step_workload
from perft.searching.extent import extent_of
from perft.searching.size_extremes import extreme_adapters
from perft.searching.space import Draw, SearchSpace, find_space
from perft.searching.steering.forecast import Setup, time_of

BASES: Mapping[str, PreTrainedConfig] = {
    # allenai/OLMoE-1B-7B-0924
    "olmoe-1b-7b": OlmoeConfig(intermediate_size=1024, vocab_size=50304),
    # Qwen/Qwen3-30B-A3B
    "qwen3-30b-a3b": Qwen3MoeConfig(
        hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_hidden_layers=48,
        num_attention_heads=32, num_key_value_heads=4, head_dim=128, num_experts=128,
        num_experts_per_tok=8, vocab_size=151936,
    ),
    # mistralai/Mixtral-8x7B-v0.1
    "mixtral-8x7b": MixtralConfig(),
    # openai/gpt-oss-20b and openai/gpt-oss-120b; trained on in bf16, as perft loads them
    "gpt-oss-20b": GptOssConfig(num_hidden_layers=24, num_local_experts=32),
    "gpt-oss-120b": GptOssConfig(num_hidden_layers=36, num_local_experts=128),
}  # fmt: skip

MACHINES: Mapping[str, int] = {"1x H100": 1, "8x H100": 8, "4 x 8 H100": 32}
"""GPUs in all; a group stays within the eight GPUs of a machine."""

MEMORY = 85.0
"""GB of an H100 80GB, as CUDA counts it."""

SLOTS = 8
"""The most that a search takes by itself."""

RATE = 0.25 * 757e12
"""FLOP/s that a step reaches: a quarter of an H100's measured matrix rate in bf16, as eager steps
of OLMoE's geometry did (docs/performance.md). Compiled ones should take less."""

GATHER = 300e9
"""Bytes per second at which a rank receives the parts of a sharded base over NVLink; assumed."""

TOKENS = 16_384
"""Tokens of a micro-batch on a GPU."""


@dataclass(frozen=True)
class Row:
    """One base on one kind of machine, and the command that plans it."""

    base: str
    machine: str
    setup: Setup
    workers: int
    command: str

    def __str__(self) -> str:
        setup, found = self.setup, time_of(self.setup).found
        hours = _range([each.hours for each in found])
        gpu_hours = _range([each.gpu_hours for each in found])
        return (
            f"| {self.base} | {self.machine} | {self.workers} | {setup.groups} | {setup.slots} "
            f"| {setup.seconds_per_step:.2g} | {hours} | {gpu_hours} |"
        )


def seconds_of_step(
    parameters: int, activated: int, *, rows: int, length: int, slots: int, workers: int
) -> float:
    """Seconds in which a group trains `slots` trials by a step of `rows` x `length` tokens.

    4 FLOP per token and parameter that a token uses (two forward, two backward: frozen weights have
    no gradient), at `RATE`. Where ranks share the base, each micro-batch receives the other ranks'
    part in bf16 twice, at `GATHER`, not overlapped. Evaluations are not in it.
    """
    tokens = slots * rows * length / workers
    gathered = 2 * 2 * parameters * (workers - 1) / workers * math.ceil(tokens / TOKENS)
    return 4 * activated * tokens / RATE + gathered / GATHER


def plan(base: str, folder: Path, space_name: str, num_trials: int) -> list[Row]:
    """A row for every kind of machine that holds the base."""
    space, place = find_space(space_name), str(folder / base)
    counted = count(extreme_adapters(space, builtin=False), place)
    fits = _fits(space, place, counted)
    if fits is None:
        return []
    workers, fit = fits
    extent = extent_of(Draw(space, builtin=False, seed=0, max_steps=None))
    slots = min(SLOTS, fit)
    seconds = seconds_of_step(
        counted.parameters, counted.activated,
        rows=extent.largest_batch, length=extent.longest, slots=slots, workers=workers,
    )  # fmt: skip
    command = (
        f"perft plan --space {space_name} --base-model {place} --device-memory {MEMORY:g} "
        f"--workers-per-group {workers} --slots {slots} --num-trials {num_trials} "
        f"--seconds-per-step {seconds:.2g}"
    )
    rows = []
    for machine, gpus in MACHINES.items():
        if (groups := gpus // workers) == 0:
            continue
        setup = Setup(
            num_trials=num_trials,
            rungs=space.steps_of_rungs(extent.max_steps),
            groups=groups,
            slots=slots,
            gpus=gpus,
            seconds_per_step=seconds,
        )
        rows.append(Row(base, machine, setup, workers, f"{command} --groups {groups}"))
    return rows


def _fits(space: SearchSpace, place: str, counted: SpaceOnBase) -> tuple[int, int] | None:
    """The fewest workers per group that hold a trial of every variant, and how many fit then."""
    memory = int(MEMORY * 1e9 * USABLE)
    for workers in (1, 2, 4, 8):
        if 2 * counted.parameters / workers > memory:  # not even the base, in bf16
            continue
        load = step_workload(space, place, workers=workers)
        costs = largest_costs(counted, load).values()
        fit = min(cost.trials_in(memory) for cost in costs)
        if fit >= 1:
            return workers, fit
    return None


def write_configs(folder: Path, names: Sequence[str]) -> None:
    """Writes `folder/NAME/config.json` for each base."""
    for name in names:
        BASES[name].save_pretrained(folder / name)


def to_markdown(rows: Sequence[Row]) -> str:
    """The table of the documents."""
    lines = [
        "| base | GPUs | workers per group | groups | slots | s per step | hours | GPU hours |",
        "|---|---|---|---|---|---|---|---|",
        *map(str, rows),
    ]
    return "\n".join(lines)


def _range(values: Sequence[float]) -> str:
    shown = dict.fromkeys(f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in values)
    return " to ".join(shown)


def main() -> None:
    """Prints the table, then the command of every row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--configs", type=Path, default=Path("bases"), help="folder to write")
    parser.add_argument("--base", choices=BASES, nargs="*", default=list(BASES))
    parser.add_argument("--space", default="arithmetic")
    parser.add_argument("--num-trials", type=int, default=64)
    options = parser.parse_args()
    write_configs(options.configs, options.base)
    rows: list[Row] = []
    for base in options.base:
        print(f"planning {base} ...", file=sys.stderr, flush=True)
        rows += plan(base, options.configs, options.space, options.num_trials)
    if not rows:
        raise SearchError("none of these machines holds a base; add machines to MACHINES")
    print(to_markdown(rows))
    for row in rows:
        print(f"\n# {row.base} on {row.machine}\n{row.command}")


if __name__ == "__main__":
    main()
