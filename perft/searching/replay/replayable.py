"""What can be replayed: the trials of an earlier search, or those of a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perft.errors import ConfigError
from perft.invocation import command_line
from perft.models.source import is_tiny
from perft.packing.shape import TRIALS_ON_CPUS
from perft.searching.given_space import given_space
from perft.searching.objectives import DEFAULT_OBJECTIVE
from perft.searching.pruning.pruners import DEFAULT_PRUNERS
from perft.searching.replay.curves import read_curves
from perft.searching.replay.simulation import Scenario
from perft.searching.sampling.samplers import DEFAULT_SAMPLER
from perft.searching.second_chances import default_chances
from perft.searching.settings import SearchSettings
from perft.searching.space import Draw, find_space
from perft.searching.steering.control import trials_of
from perft.searching.steering.forecast import setup_like
from perft.searching.trust import require_trusted
from perft.selection import read_results
from perft.storage import Storage
from perft.trial import TrialResult


@dataclass(frozen=True, kw_only=True)
class Replayable:
    """Recorded trials, and the search that they are of.

    Attributes:
        trials: those recorded.
        scenario: the search.
        draw: draws its trials.
        seconds_per_step: as `perft.searching.steering.forecast.Setup` has it; None if unknown.
        gpus_per_group: 0 on CPUs.
    """

    trials: Sequence[TrialResult]
    scenario: Scenario
    draw: Draw
    seconds_per_step: float | None = None
    gpus_per_group: float = 0.0


def of_search(search: Storage, *, trust_code: bool, tell: Callable[[str], None]) -> Replayable:
    """An earlier search, or one that is running.

    Args:
        search: its folder.
        trust_code: whether the file of its space may be run unseen.
        tell: shows the user a line.

    Raises:
        SearchError: if no trial has reported, or the user does not trust the space's file.
        StorageError: if the folder cannot be read.
    """
    settings = SearchSettings.read(search)
    if settings.space.endswith(".py"):
        command = command_line("simulate", "--name", settings.name)
        require_trusted(
            settings.space, settings.name, resume_by=command, trust_code=trust_code,
            tell=tell,
        )  # fmt: skip
    records = list(trials_of(search).values())
    measured = setup_like(settings, records)
    return Replayable(
        trials=read_results(search),
        scenario=Scenario(
            rungs=settings.rungs,
            num_trials=settings.num_trials or max(len(records), 1),
            groups=measured.groups,
            slots=measured.slots,
            sampler=settings.sampler,
            pruner=settings.pruner,
            objective=settings.objective,
            second_chances=settings.second_chances,
        ),
        draw=Draw(
            given_space(settings.space).space, is_tiny(settings.base_model), settings.seed,
            settings.max_steps,
        ),
        seconds_per_step=measured.seconds_per_step,
        gpus_per_group=measured.gpus / measured.groups,
    )  # fmt: skip


def of_curves(file: Path, space: str) -> Replayable:
    """A default search of a space on the built-in base, and a file that `write_curves` wrote.

    Args:
        file: the recorded trials.
        space: name of their space.

    Raises:
        ConfigError: if there is no such space, or they have no report at one of its rungs.
        DamagedError: if the file has no recorded trials.
    """
    found, trials = find_space(space), read_curves(file)
    full = max((trial.config.training.max_steps for trial in trials), default=2)
    rungs = found.steps_of_rungs(full)
    recorded = {report.step for trial in trials for report in trial.reports}
    if missing := sorted(set(rungs) - recorded):
        raise ConfigError(
            f"the trials of {file} reported after {_listed(sorted(recorded))} steps, and the rungs "
            f"of space {space} at {_listed(missing)} are not among them"
        )
    scenario = Scenario(
        rungs=rungs,
        num_trials=found.num_trials,
        groups=1,
        slots=TRIALS_ON_CPUS,
        sampler=DEFAULT_SAMPLER,
        pruner=DEFAULT_PRUNERS[DEFAULT_OBJECTIVE],
        objective=DEFAULT_OBJECTIVE,
        second_chances=default_chances(found.num_trials),
    )
    return Replayable(trials=trials, scenario=scenario, draw=Draw(found, True, 0, full))


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))
