"""How close to the front a search comes, by sampler and rung rule: replays of recorded trials.

`python benchmarks/replay.py`. Prints the regret (the share of the hypervolume of the front of all
recorded trials that the front of the search's own full-length trials lacks) after so many optimiser
steps, evaluations not counted: the mean over seeds, with its 95% interval. Accuracy goes from 0 to
1, the logarithm of the activated parameters from 600 to 40,000. Then, of the fronts of whole
searches, the hypervolume and the number of points: the mean and the worst, and the steps in all.
Real parts of a search decide: agenda, sampler, pruner, rounds; `record_curves.py` has recorded the
reports.

The sampler "shuffled" takes the recorded trials themselves in random order, none twice, early those
that the space draws often: what a rung rule alone is worth. Every other proposes from the space,
and the nearest recorded trial answers.
"""

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Annotated

import optuna
import typer
from optuna.samplers import RandomSampler

from perft.files import Json
from perft.packing.messages import Reported
from perft.searching.agenda import Trial
from perft.searching.objectives import DEFAULT_OBJECTIVE
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.replay.curves import read_curves
from perft.searching.replay.recording import Recording
from perft.searching.replay.replay import Ended
from perft.searching.replay.simulation import Scenario, Target, simulate, simulate_with
from perft.searching.sampling.samplers import SAMPLERS
from perft.searching.space import Draw, find_space
from perft.selection import pareto_front
from perft.selection.hypervolume import BUILTIN, hypervolume_of
from perft.trial import Origin, Outcome, TrialConfig, TrialResult

CURVES = Path(__file__).parent / "curves"
SHUFFLED = "shuffled"
DRAWS = 2000
"""Random draws by which it is counted how often the space draws a recorded trial."""

POINTS = 4
"""A front of fewer points leaves little to choose."""

LENGTHS = (4, 8, 16, 32, 64)
"""Optimiser steps after which the regret is printed, in full lengths of a trial."""


class Shuffled:
    """A study that draws the recorded trials in random order.

    Args:
        counts: by recorded configuration, how often the space draws one for which it answers.
        seed: of the order.
    """

    def __init__(self, counts: Mapping[TrialConfig, int], seed: int) -> None:
        random = Random(seed)
        # Weighted sampling without replacement (Efraimidis and Spirakis, 2006); `pop` is the first.
        self._left = sorted(counts, key=lambda each: random.random() ** (1 / counts[each]))
        self._count = 0

    def draw(self) -> Trial:
        """The next recorded trial."""
        return self.given(self._left.pop(), {}, None)

    def given(
        self, config: TrialConfig, params: Mapping[str, Json], origin: Origin | None
    ) -> Trial:
        """A trial that was not drawn."""
        self._count += 1
        return Trial(number=self._count - 1, config=config, params=params, origin=origin)

    def reported(self, number: int, reported: Reported) -> None:
        """Learns nothing."""

    def ended(self, number: int, outcome: Outcome, last: Reported | None) -> None:
        """Learns nothing."""


def main(
    *,
    curves: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded trials, SPACE-SEED.parquet.", show_default="curves/*.parquet"),
    ] = None,
    sampler: Annotated[list[str] | None, typer.Option(help="Samplers.", show_default="all")] = None,
    pruner: Annotated[list[str] | None, typer.Option(help="Pruners.", show_default="all")] = None,
    rungs: Annotated[
        int | None,
        typer.Option(min=0, help="Rungs before the full length.", show_default="the space's"),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Trials that are trained together.")] = 1,
    second_chances: Annotated[int, typer.Option(min=0, help="Stopped trials to continue.")] = 0,
    num_trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of a search.", show_default="all recorded")
    ] = None,
    repeats: Annotated[int, typer.Option(min=2, help="Searches of each kind.")] = 100,
) -> None:
    """Print the regret of every sampler with every rung rule."""
    for file in curves or sorted(CURVES.glob("*.parquet")):
        space = find_space(file.stem.rpartition("-")[0])
        if rungs is not None:
            space = replace(space, rungs=rungs)
        recording = Recording(read_curves(file))
        draw = Draw(space, True, 0)
        counts = _counts(recording, draw)
        steps = space.steps_of_rungs(recording.trials[0].config.training.max_steps)
        target = Target.of(recording.trials, BUILTIN)
        budgets = [steps[-1] * lengths for lengths in LENGTHS]
        print(
            f"\n{file.stem}: {len(recording.trials)} recorded trials, hypervolume of their front "
            f"{target.volume:.3f}; rungs at {', '.join(map(str, steps[:-1]))} of {steps[-1]} "
            f"steps, {slots} at once, {second_chances} second chances, {repeats} searches each\n"
            f"{'regret after':16}" + "".join(f"{f'{each:,} steps':>17}" for each in budgets)
        )
        for one, rule in itertools.product(sampler or [SHUFFLED, *SAMPLERS], pruner or PRUNERS):
            scenario = Scenario(
                rungs=steps, num_trials=num_trials or len(recording.trials), groups=1,
                slots=slots, sampler=one, pruner=rule, objective=DEFAULT_OBJECTIVE,
                second_chances=second_chances,
            )  # fmt: skip
            start = time.perf_counter()
            searches = [_search(scenario, draw, recording, counts, seed) for seed in range(repeats)]
            took = (time.perf_counter() - start) / repeats
            found = [[target.regret(each, budget) for budget in budgets] for each in searches]
            columns = "".join(_shown(each) for each in zip(*found, strict=True))
            print(f"{one:9} {rule:6}{columns}   {took:.2f} s a search")
            print(f"{'':16}  {_fronts(searches, target)}")


def _counts(recording: Recording, draw: Draw) -> Counter[TrialConfig]:
    """How often each recorded trial answers for a random draw, and once more."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    drawn = (recording.nearest(draw(study.ask())).config for _ in range(DRAWS))
    return Counter([*drawn, *(trial.config for trial in recording.trials)])


def _search(
    scenario: Scenario,
    draw: Draw,
    recording: Recording,
    counts: Mapping[TrialConfig, int],
    seed: int,
) -> list[Ended]:
    if scenario.sampler == SHUFFLED:
        return simulate_with(scenario, Shuffled(counts, seed), recording)
    return simulate(scenario, draw, recording, seed)


def _fronts(searches: Sequence[Sequence[Ended]], target: Target) -> str:
    """The fronts of whole searches in a line."""
    results = [_results(ended) for ended in searches]
    volumes = [hypervolume_of(each, target.reference) for each in results]
    points = [len(pareto_front(each)) for each in results]
    return (
        f"whole searches: hypervolume {mean(volumes):.3f}, the worst {min(volumes):.3f}; "
        f"{mean(points):.1f} points, in {sum(each < POINTS for each in points)} of {len(points)} "
        f"fewer than {POINTS}; {mean(ended[-1].steps for ended in searches):,.0f} steps"
    )


def _results(searched: Sequence[Ended]) -> list[TrialResult]:
    """The trials of a replayed search, with their last reports alone."""
    return [
        TrialResult(
            number=each.trial.number,
            config=each.trial.config,
            outcome=each.outcome,
            reports=(each.last.report,),
            size=each.last.size,
            origin=each.trial.origin,
        )
        for each in searched
        if each.last
    ]


def _shown(regrets: Sequence[float]) -> str:
    """Mean, and half the width of its 95% interval."""
    margin = 1.96 * stdev(regrets) / len(regrets) ** 0.5
    return f"  {mean(regrets):.3f} +- {margin:.3f}"


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    typer.run(main)
