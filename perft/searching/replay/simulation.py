"""What a search with other settings would have found, and what it would have taken, by replays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from perft.errors import SearchError
from perft.searching.agenda import Agenda, Study
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.replay.recording import Recording
from perft.searching.replay.replay import Ended, Replay
from perft.searching.sampling.quiet import quiet_optuna
from perft.searching.sampling.sampler import Sampling
from perft.searching.sampling.samplers import make_sampler
from perft.searching.sampling.sizes import within
from perft.searching.sampling.study import OptunaStudy
from perft.searching.space import Draw
from perft.selection import objective
from perft.selection.hypervolume import Reference, hypervolume, hypervolume_of, reference_of
from perft.trial import TrialResult


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A search that could have been: the settings on which it depends, as of `SearchSettings`."""

    rungs: tuple[int, ...]
    num_trials: int
    groups: int
    slots: int
    sampler: str
    pruner: str
    objective: str
    second_chances: int = 0


def simulate(scenario: Scenario, draw: Draw, recording: Recording, seed: int) -> list[Ended]:
    """The trials of one search, in the order in which they end.

    Args:
        scenario: its settings.
        draw: draws its trials.
        recording: what they report.
        seed: of the search.
    """
    sampler = make_sampler(
        scenario.sampler,
        Sampling(
            draw=draw,
            size=recording.size,
            allows=within(None),
            objective=scenario.objective,
            max_steps=scenario.rungs[-1],
            seed=seed,
        ),
    )
    name = f"replay-{seed}"
    with quiet_optuna():
        study = OptunaStudy(draw, sampler, None, name, objective=scenario.objective)
        return simulate_with(scenario, study, recording)


def simulate_with(scenario: Scenario, study: Study, recording: Recording) -> list[Ended]:
    """The trials of a search that a new study draws; its sampler is not the scenario's."""
    rungs = scenario.rungs
    agenda = Agenda(
        study,
        num_trials=scenario.num_trials,
        max_steps=rungs[-1],
        second_chances=scenario.second_chances,
    )
    pruner = PRUNERS[scenario.pruner](rungs, scenario.objective)
    replay = Replay(agenda, pruner, recording, rungs, groups=scenario.groups, slots=scenario.slots)
    return list(replay.run())


@dataclass(frozen=True)
class Target:
    """The front of all recorded trials, which a search could find at best.

    Attributes:
        reference: where hypervolumes are measured.
        volume: the hypervolume of that front.
    """

    reference: Reference
    volume: float

    @classmethod
    def of(cls, trials: Sequence[TrialResult], reference: Reference | None = None) -> "Target":
        """The target of some recorded trials.

        Args:
            trials: those recorded.
            reference: None for one that encloses them.

        Raises:
            SearchError: if they have no front with a hypervolume.
        """
        reference = reference or reference_of(trials)
        volume = hypervolume_of(trials, reference) if reference else 0.0
        if reference is None or not volume:
            raise SearchError(
                "the recorded trials have no front to compare with: at least one must have run to "
                "its full length and answered something, and they must differ in size"
            )
        return cls(reference, volume)

    def regret(self, ended: Iterable[Ended], max_steps: int | None = None) -> float:
        """The share of the hypervolume that the front of a replayed search lacks, in [0, 1].

        Args:
            ended: the trials of the search.
            max_steps: counts only those that ended by so many optimiser steps in all.
        """
        found = [
            each.last
            for each in ended
            if each.outcome == "complete" and (max_steps is None or each.steps <= max_steps)
        ]
        points = [(each.size.activated, objective(each.report)) for each in found if each]
        sizes, values = zip(*points, strict=True) if points else ((), ())
        return 1 - hypervolume(sizes, values, self.reference) / self.volume


@dataclass(frozen=True)
class Simulated:
    """What the searches of one scenario did that differ by their seed alone.

    Attributes:
        scenario: of all of them.
        searches: the trials of each.
        target: what they are compared with.
    """

    scenario: Scenario
    searches: tuple[tuple[Ended, ...], ...]
    target: Target

    @classmethod
    def of(
        cls, scenario: Scenario, draw: Draw, recording: Recording, target: Target, seeds: range
    ) -> "Simulated":
        """Replays a search for each seed."""
        searches = (tuple(simulate(scenario, draw, recording, seed)) for seed in seeds)
        return cls(scenario, tuple(searches), target)

    @property
    def full_length(self) -> float:
        """Mean number of trials that ran to their full length."""
        return fmean(sum(e.outcome == "complete" for e in each) for each in self.searches)

    @property
    def cut(self) -> float:
        """Share of the trials that would have gone on where the recorded one was stopped."""
        trials = [trial for each in self.searches for trial in each]
        return fmean(trial.is_cut for trial in trials)

    @property
    def steps(self) -> float:
        """Mean optimiser steps of all trials of a search together."""
        return fmean(each[-1].steps for each in self.searches)

    @property
    def in_a_row(self) -> float:
        """Mean optimiser steps that the rounds of a search last."""
        return fmean(each[-1].in_a_row for each in self.searches)

    @property
    def regret(self) -> tuple[float, float, float]:
        """Mean regret, and the 5% and 95% quantiles over the searches."""
        regrets = [self.target.regret(each) for each in self.searches]
        cuts = quantiles(regrets, n=20, method="inclusive")
        return fmean(regrets), cuts[0], cuts[-1]
