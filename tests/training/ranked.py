"""What every rank of a test runs: the ten on a sharded base, with shares of unequal size.

And trials on pairs of answers, of which one rank has none of the test split.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from contracts.packs import TEN, advance, loaded_base, tiny_task
from contracts.pairs import MIXED, pair_task
from perft.base_score import BaseScore
from perft.checkpoint import TrialState, from_bytes
from perft.models import compiling
from perft.models.compiling import compile_regions
from perft.models.sharding import shard
from perft.ranks import Ranks
from perft.training.base_alone import predict_base, score_base
from perft.training.pack import Pack
from perft.trial import TrialConfig

RUNGS = (10, 25)


ON_PAIRS = {name: MIXED[name] for name in ("r", "s", "lora-qv", "sft")}


def configs(ranks: int, trials: Mapping[str, TrialConfig] = TEN) -> dict[str, TrialConfig]:
    """The trials, with batches of at least one example per rank."""
    return {
        name: dataclasses.replace(
            config,
            training=dataclasses.replace(
                config.training, batch_size=max(config.training.batch_size, ranks)
            ),
        )
        for name, config in trials.items()
    }


def train(
    ranks: Ranks,
    size: int,
    family: str,
    dtype: torch.dtype,
    *,
    compiled: bool = False,
    on_pairs: bool = False,
) -> tuple[dict[str, TrialState], dict[str, dict[str, tuple[int, int]]], BaseScore]:
    """States at the last rung and scores: 5 validation rows, and a test split of one."""
    base = loaded_base(family, dtype)
    shard(base.model, ranks)
    compilation = compile_regions(base.model) if compiled else None
    task = (pair_task if on_pairs else tiny_task)(validation=5, test=1)
    pack = Pack(base, task, ranks, slots=4)
    trials = configs(size, ON_PAIRS if on_pairs else TEN)
    for name, config in trials.items():
        pack.admit(name, config)
    for rung in RUNGS:
        advance(pack, dict.fromkeys(trials, rung))
    if compilation is not None:  # the experts are a loop in float64
        assert compilation.active
        assert compilation.failures.keys() == {"OlmoeExperts"}
    states = {name: from_bytes(pack.state(name)) for name in trials}
    scores = pack.count_tests(pack.predict_tests([*trials]))
    base_score = score_base(pack, trials["sft" if on_pairs else "r"].training, predict_base(pack))
    return states, scores, base_score


def _save(ranks: Ranks, folder: Path, family: str, dtype: torch.dtype, **options: bool) -> None:
    states, scores, base = train(ranks, ranks.size, family, dtype, **options)
    file = folder / f"{family}-{str(dtype).removeprefix('torch.')}-{ranks.rank}"
    torch.save({name: {**s.adapter, **s.moments} for name, s in states.items()}, f"{file}.pt")
    reports = {name: [r.to_json() for r in s.reports] for name, s in states.items()}
    found = {"reports": reports, "scores": scores, "base": base.to_json()}
    Path(f"{file}.json").write_text(json.dumps(found))


def pairs(ranks: Ranks, folder: Path) -> None:
    _save(ranks, folder, "olmoe", torch.float64, on_pairs=True)


def compiled_pairs(ranks: Ranks, folder: Path) -> None:
    """In fixed shapes."""
    _trace_only()
    _save(ranks, folder, "olmoe", torch.float64, compiled=True, on_pairs=True)


def float64_then_float32(ranks: Ranks, folder: Path) -> None:
    _save(ranks, folder, "olmoe", torch.float64)
    _save(ranks, folder, "olmoe", torch.float32)


def mixtral(ranks: Ranks, folder: Path) -> None:
    _save(ranks, folder, "mixtral", torch.float64)


def compiled(ranks: Ranks, folder: Path) -> None:
    """On a compiled base, hence in fixed shapes."""
    _trace_only()
    _save(ranks, folder, "olmoe", torch.float64, compiled=True)


def resumed(ranks: Ranks, folder: Path) -> None:
    """Half the way on one process, as the test left it, and the rest here."""
    state = (folder / "state").read_bytes()
    base = loaded_base()
    shard(base.model, ranks)
    pack = Pack(base, tiny_task(validation=5, test=1), ranks)
    name = "r"
    pack.admit(name, configs(ranks.size)[name], state)
    advance(pack, {name: RUNGS[1]})
    if ranks.rank == 0:
        (folder / "after").write_bytes(pack.state(name))


def one_rank_fails(ranks: Ranks, _folder: Path) -> None:
    if ranks.rank == 1:
        raise ValueError("only here")


def _trace_only() -> None:
    """Has what is compiled only traced, which takes less time."""
    traced = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    compiling.torch.compile = lambda own, *, dynamic, **_: traced(own, dynamic=dynamic)
