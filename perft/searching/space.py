"""A search space: the trials that a search can draw, and their full length.

A space is a module with a module-level `SPACE`, in `search_spaces/` or a file of the user's own, or
an object that a program hands to `perft.search`; its `suggest` is Optuna's define-by-run style, so
a choice may open further choices.
"""

import contextlib
import dataclasses
import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import optuna

from perft.checks import (
    LARGEST_SEED,
    require_name,
    require_positive,
    require_positive_number,
    require_whole,
    shown,
)
from perft.config import AdapterConfig, TrainingConfig
from perft.errors import ConfigError, unknown
from perft.files import Json
from perft.modules import load_module
from perft.searching.calls import name_of, result_of
from perft.studies import SEEDS, Study
from perft.tasks import OwnTask, TaskSource
from perft.trial import TrialConfig

PACKAGE = "search_spaces"
MAX_RUNGS = 30
"""The steps between rungs double: no number of steps has more rungs."""
REDUCTION_FACTOR = 2
"""From rung to rung the steps grow by this factor; ASHA keeps one in so many trials at each."""


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchSpace:
    """A space that a search draws trials from.

    `builtin` is true for the built-in base, and for tiny ones that perft has pretrained alike: they
    need other sizes and learning rates.

    Attributes:
        task: name of a task of `perft.tasks`, or the user's own task.
        training: `training(builtin)` returns the training configuration that trials vary.
        suggest: `suggest(trial, builtin)` draws one trial.
        num_trials: default number of trials of a search.
        points: parameters, by Optuna's name, of the trials that a search tries first.
        rungs: number of rungs before the full length.
        prior: `prior(config, builtin)` says how good a trial is expected to be before anything is
            known: a positive number, which counts relative to those of other trials.
        study: the question that its points answer; its page is written when a search ends, and
            `perft study` trains all of them.
    """

    task: str | OwnTask
    training: Callable[[bool], TrainingConfig]
    suggest: Callable[[optuna.Trial, bool], TrialConfig]
    num_trials: int = 16
    points: Sequence[Mapping[str, Json]] = ()
    rungs: int = 3
    prior: Callable[[TrialConfig, bool], float] | None = None
    study: Study | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.task, OwnTask):
            require_name("task of a search space", self.task)
        for name in ("training", "suggest", *(("prior",) if self.prior is not None else ())):
            if not callable(getattr(self, name)):
                raise ConfigError(f"{name} must be a function, found {shown(getattr(self, name))}")
        require_positive("num_trials", self.num_trials)
        require_whole("rungs", self.rungs, 0, MAX_RUNGS)
        if not isinstance(self.study, Study | None):
            raise ConfigError(f"study must be a Study, found {shown(self.study)}")

    @classmethod
    def of_study(cls, task: str | OwnTask, study: Study) -> "SearchSpace":
        """The space of a study's design, whose search trains every trial of it to full length."""
        design = study.design
        return cls(
            task=task,
            training=design.training,
            suggest=design.suggest,
            points=design.points,
            num_trials=SEEDS * design.cells,
            rungs=0,
            study=study,
        )

    def __repr__(self) -> str:
        task = self.task if isinstance(self.task, str) else self.task.name
        suggest = getattr(self.suggest, "__name__", shown(self.suggest))
        return (
            f"SearchSpace(task={task!r}, suggest={suggest}, num_trials={self.num_trials}, "
            f"rungs={self.rungs})"
        )

    def trained(self, builtin: bool) -> TrainingConfig:
        """Calls `training`.

        Raises:
            ConfigError: if it raises or returns another type; names the function.
        """
        return result_of(TrainingConfig, self.training, builtin)

    def draw(self, trial: optuna.Trial, builtin: bool) -> TrialConfig:
        """Calls `suggest`.

        Raises:
            ConfigError: if it raises or returns another type, or `prior` fails on what it returns;
                names the function.
        """
        found = result_of(TrialConfig, self.suggest, trial, builtin)
        for name, kind in (("adapter", AdapterConfig), ("training", TrainingConfig)):
            if not isinstance(getattr(found, name), kind):
                raise ConfigError(
                    f"{name_of(self.suggest)}: its {name} must be of type {kind.__name__}, found "
                    f"{shown(getattr(found, name))}"
                )
        self.expects(found, builtin)  # one that fails is found before anything runs, as all else
        return found

    def expects(self, config: TrialConfig, builtin: bool) -> float:
        """Calls `prior`; 1 without one.

        Raises:
            ConfigError: if it raises, or returns no positive number; names the function.
        """
        if self.prior is None:
            return 1.0
        found = result_of(object, self.prior, config, builtin)
        require_positive_number(f"what {name_of(self.prior)} returns", found)
        return float(str(found))

    def source(self, data: str | None, validation_size: int, seed: int) -> TaskSource:
        """Where the space's task comes from.

        Raises:
            ConfigError: if `data` is given for an own task, which declares its own.
        """
        if isinstance(self.task, str):
            return TaskSource(name=self.task, data=data, validation_size=validation_size, seed=seed)
        if data is not None:
            raise ConfigError(
                f"task {self.task.name!r} declares its own data, found {data} besides; leave "
                "--data out"
            )
        own = self.task.to_json()
        return TaskSource(
            name=self.task.name,
            validation_size=validation_size,
            seed=seed,
            own=own,
            trust_code=True,  # it belongs to the space, which runs already
        )

    def steps_of_rungs(self, max_steps: int) -> tuple[int, ...]:
        """Steps after which a trial of `max_steps` reports, ascending; `max_steps` is the last.

        From rung to rung the steps grow by `REDUCTION_FACTOR`.
        """
        steps = {max_steps // REDUCTION_FACTOR**i for i in range(self.rungs + 1)}
        return (*sorted(steps - {0, max_steps}), max_steps)


def find_space(name: str) -> SearchSpace:
    """The space `SPACE` of the module `search_spaces/<name>.py`, or of the file `name` itself.

    Raises:
        ConfigError: if there is no such module, or it has no `SPACE`.
    """
    return space_in(space_module(name), name)


def space_in(module: ModuleType, name: str) -> SearchSpace:
    """The space `SPACE` of a module.

    Args:
        module: the module.
        name: what the user called it, for errors.

    Raises:
        ConfigError: if it has none.
    """
    space = getattr(module, "SPACE", None)
    if not isinstance(space, SearchSpace):
        file = name if name.endswith(".py") else f"{PACKAGE}/{name}.py"
        raise ConfigError(f"{file} has no SPACE of type SearchSpace")
    return space


def space_module(name: str) -> ModuleType:
    """The module of a space, by a name as for `find_space`.

    Raises:
        ConfigError: if there is no such module.
    """
    if name.endswith(".py"):
        with contextlib.redirect_stdout(sys.stderr):
            return load_module(name)
    if name not in spaces():
        raise ConfigError(unknown("search space", name, spaces()))
    return importlib.import_module(f"{PACKAGE}.{name}")


def spaces() -> list[str]:
    """Names of the spaces in `search_spaces`, in alphabetical order."""
    package = importlib.import_module(PACKAGE)
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


def find_study(name: str) -> Study:
    """The study of a space.

    Raises:
        ConfigError: if there is no such space, or it has none.
    """
    found = find_space(name).study
    if found is None:
        with_one = [each for each in spaces() if find_space(each).study is not None]
        raise ConfigError(
            f"the space {name!r} has no study, wanted one of {', '.join(with_one)}, or a file "
            "with a SPACE that has one; perft search searches the other spaces"
        )
    return found


def of_length(training: TrainingConfig, seed: int, max_steps: int | None) -> TrainingConfig:
    """`training` with another seed and, unless None, another length; shortens the warm-up too."""
    if max_steps is None or max_steps == training.max_steps:
        return dataclasses.replace(training, seed=seed)
    warmup = min(training.warmup_steps, max_steps // 10)
    return dataclasses.replace(training, seed=seed, max_steps=max_steps, warmup_steps=warmup)


@dataclass(frozen=True)
class Draw:
    """Draws the trials of one search from its space.

    Attributes:
        space: the search space.
        builtin: whether the base is the built-in one, or a tiny one pretrained alike.
        seed: training seed of every trial, so that trials differ by configuration alone; what the
            space's own training configuration has is added to it.
        max_steps: full length in optimiser steps; None keeps the space's own.
    """

    space: SearchSpace
    builtin: bool
    seed: int
    max_steps: int | None = None

    def __call__(self, trial: optuna.Trial) -> TrialConfig:
        """One trial's configuration.

        Raises:
            ConfigError: if the space's `suggest` fails; names it.
        """
        config = self.space.draw(trial, self.builtin)
        seed = (self.seed + config.training.seed) % (LARGEST_SEED + 1)
        return TrialConfig(config.adapter, of_length(config.training, seed, self.max_steps))

    def expects(self, config: TrialConfig) -> float:
        """How good a trial is expected to be before anything is known, relative to others.

        Raises:
            ConfigError: if the space's `prior` fails; names it.
        """
        return self.space.expects(config, self.builtin)
