"""Records the curves that `replay.py` replays: trials of a space, trained to their full length.

`python benchmarks/record_curves.py --space arithmetic`. For every adapter that the space draws, its
real parameters (the learning rate) are drawn once from each of `--strata` equal parts of their
ranges, so that whatever a sampler proposes has a near neighbour. No trial is stopped. The trials
are trained in packs in this process; the file is replaced after every pack, and a recording that
was interrupted goes on from it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Annotated

import optuna
import typer
from optuna.distributions import FloatDistribution
from optuna.trial import FixedTrial
from rich.progress import track

from perft.config import AdapterConfig
from perft.models.load import load_base
from perft.ranks import Ranks
from perft.searching.extent import extent_of
from perft.searching.paths import all_draws
from perft.searching.replay.curves import read_curves, write_curves
from perft.searching.space import Draw, find_space
from perft.tasks import load_task
from perft.training.pack import Pack
from perft.trial import TrialConfig, TrialResult

CURVES = Path(__file__).parent / "curves"


def main(
    *,
    space: Annotated[str, typer.Option(help="Search space that the trials are of.")] = "arithmetic",
    strata: Annotated[int, typer.Option(min=1, help="Trials of every adapter.")] = 6,
    rungs: Annotated[int, typer.Option(min=0, help="Rungs; their steps double.")] = 3,
    max_steps: Annotated[
        int | None, typer.Option(min=2, help="Full length.", show_default="the space's")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    draw_seed: Annotated[int, typer.Option(min=0, help="Of the drawn real numbers.")] = 0,
    slots: Annotated[int, typer.Option(min=1, help="Trials that are trained together.")] = 8,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file.", show_default="curves/SPACE-SEED.parquet")
    ] = None,
) -> None:
    """Train the trials and write their reports to a Parquet file."""
    found = find_space(space)
    draw = Draw(found, True, seed, max_steps)
    length = extent_of(draw).max_steps
    steps = sorted({length // 2**i for i in range(rungs + 1)} - {0})
    configs = dict(enumerate(stratified(draw, strata, Random(draw_seed))))
    file = out or CURVES / f"{space}-{seed}.parquet"
    known = read_curves(file) if file.exists() else []
    for trial in known:
        assert configs[trial.number] == trial.config, f"{file} is of another recording"
        del configs[trial.number]
    pack = Pack(load_base(), load_task(found.source(None, 400, 0)), Ranks(), slots=slots)
    numbers = list(configs)
    for first in track(range(0, len(numbers), slots), description="training"):
        known += _trained(pack, {n: configs[n] for n in numbers[first : first + slots]}, steps)
        write_curves(file, known)


def stratified(draw: Draw, strata: int, random: Random) -> Iterator[TrialConfig]:
    """Every adapter that is drawn, `strata` times, in random order."""
    paths: dict[AdapterConfig, Mapping[str, object]] = {}
    for one in all_draws(draw):
        paths.setdefault(one.found.adapter, one.params)
    found = [
        draw(FixedTrial(_params(draw, params, part, strata, random)))  # type: ignore[arg-type]
        for params in paths.values()
        for part in range(strata)
    ]
    random.shuffle(found)
    return iter(found)


def _params(
    draw: Draw, params: Mapping[str, object], part: int, strata: int, random: Random
) -> dict[str, object]:
    """The parameters, with every real number from the given part of its range."""
    trial = FixedTrial(dict(params))
    draw(trial)  # type: ignore[arg-type]
    within = {
        name: _at(kind, (part + random.random()) / strata)
        for name, kind in trial.distributions.items()
        if isinstance(kind, FloatDistribution)
    }
    return {**params, **within}


def _at(kind: FloatDistribution, share: float) -> float:
    """The value at a share of the range."""
    if kind.log:
        return float(kind.low * (kind.high / kind.low) ** share)
    return kind.low + share * (kind.high - kind.low)


def _trained(pack: Pack, configs: Mapping[int, TrialConfig], steps: list[int]) -> list[TrialResult]:
    """The trials, trained together to their full length."""
    names = {number: str(number) for number in configs}
    for number, config in configs.items():
        pack.admit(names[number], config)
    failed: dict[str, str] = {}
    for step in steps:
        outcome = pack.advance({name: step for name in names.values() if name not in failed})
        failed |= {name: reason for name, reason in outcome.items() if isinstance(reason, str)}
    results = [
        TrialResult(
            number=number,
            config=configs[number],
            outcome="failed" if name in failed else "complete",
            reports=tuple(pack.running[name].reports),
            size=pack.size(name),
            error=failed.get(name, ""),
        )
        for number, name in names.items()
    ]
    for name in names.values():
        pack.release(name)
    return results


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    typer.run(main)
