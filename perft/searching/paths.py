"""Lists what a define-by-run space can draw, before anything runs.

It takes every choice of a categorical and both ends of every integer range, along every branch of
the space. All real numbers are at their low ends, then all at their high ends: their combinations
would be too many. Of a space with more than `MAX_PATHS` paths it draws as many at random. Some
random draws try values between the ends of ranges.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.samplers import BaseSampler, RandomSampler

from perft.checks import shown
from perft.errors import ConfigError
from perft.searching.sampling.quiet import quiet_optuna

MAX_PATHS = 2048
"""Paths that are taken in order; after them, as many at random."""
_BETWEEN = 50

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn(Generic[T]):
    """One way through a space.

    Attributes:
        found: what the space returned.
        params: the values, by parameter.
        is_extreme: whether every parameter is at an end of its range.
    """

    found: T
    params: Mapping[str, object]
    is_extreme: bool

    def __str__(self) -> str:
        return _params(self.params)


def all_draws(draw: Callable[[optuna.Trial], T]) -> Iterator[Drawn[T]]:
    """What a space returns for each of its paths, real numbers at their low ends first.

    Args:
        draw: asks an Optuna trial for parameters; its errors pass through.

    Raises:
        ConfigError: if `draw` does, or a parameter has other choices in one trial than in another.
    """
    known: dict[str, BaseDistribution] = {}
    for trial, is_extreme in _trials():
        try:
            found = draw(trial)
            for name, distribution in trial.distributions.items():
                _require_same(name, known.setdefault(name, distribution), distribution)
        except ConfigError as error:
            raise ConfigError(f"{error}; so it is at {_params(trial.params)}") from error
        yield Drawn(found, dict(trial.params), is_extreme)


def _trials() -> Iterator[tuple[optuna.Trial, bool]]:
    """Trials to draw with, and whether their parameters are at ends; each is the next path."""
    for high in (False, True):
        walk = _Walk(high)
        for count, _ in enumerate(walk.paths()):
            if count == MAX_PATHS:
                at_random = _Ends(high, Random(0))
                yield from ((_ask(at_random), True) for _ in range(MAX_PATHS))
                break
            yield _ask(walk), True
        if not walk.has_real:
            break
    between = RandomSampler(seed=0)
    yield from ((_ask(between), False) for _ in range(_BETWEEN))


def _require_same(name: str, known: BaseDistribution, found: BaseDistribution) -> None:
    """Checks a parameter's choices as Optuna will over all trials of a search."""
    try:
        check_distribution_compatibility(known, found)
    except ValueError as error:
        raise ConfigError(
            f"the space gives the parameter {name!r} other choices in one trial than in another; "
            f"call it by another name there ({error})"
        ) from error


def _params(params: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in params.items()) or "every trial"


def _ask(sampler: BaseSampler) -> optuna.Trial:
    """A trial of a new study: in one study, Optuna searches all earlier trials for each new one."""
    with quiet_optuna():
        return optuna.create_study(sampler=sampler).ask()


class _Ends(BaseSampler):
    """Takes an end of every range and a choice of every categorical, at random.

    Args:
        high: whether real numbers are at their high ends.
        random: the generator.
    """

    def __init__(self, high: bool, random: Random) -> None:
        self._high = high
        self._random = random
        self.has_real = False

    def choose(self, ends: tuple[object, ...]) -> object:
        """One of the ends."""
        return self._random.choice(ends)

    def sample_independent(
        self, study: object, trial: object, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """An end of a range, or a choice."""
        return self.choose(self._ends(param_distribution))

    def infer_relative_search_space(
        self, study: object, trial: object
    ) -> dict[str, BaseDistribution]:
        """Empty: every parameter is sampled independently."""
        return {}

    def sample_relative(
        self, study: object, trial: object, search_space: object
    ) -> dict[str, object]:
        """Empty, as above."""
        return {}

    def _ends(self, distribution: BaseDistribution) -> tuple[object, ...]:
        if isinstance(distribution, CategoricalDistribution):
            return tuple(distribution.choices)
        assert hasattr(distribution, "low")
        assert hasattr(distribution, "high")
        if distribution.high == distribution.low:
            return (distribution.low,)
        if isinstance(distribution, IntDistribution):
            return distribution.low, distribution.high
        self.has_real = True
        return (distribution.high if self._high else distribution.low,)


class _Walk(_Ends):
    """Takes a space along all its paths, depth first, one path per trial."""

    def __init__(self, high: bool) -> None:
        super().__init__(high, Random(0))
        self._path: list[int] = []
        self._choices: list[int] = []  # number of choices at each fork of the last trial

    def paths(self) -> Iterator[None]:
        """Yields once for each path; the caller asks for one trial after each."""
        while True:
            self._choices = []
            yield
            self._path += [0] * (len(self._choices) - len(self._path))
            # A space that is not a pure function of its trial may have fewer forks than before.
            self._path = self._path[: len(self._choices)]
            while self._path and self._path[-1] + 1 >= self._choices[len(self._path) - 1]:
                self._path.pop()
            if not self._path:
                return
            self._path[-1] += 1

    def choose(self, ends: tuple[object, ...]) -> object:
        """The choice of this path at its next fork."""
        fork = len(self._choices)
        self._choices.append(len(ends))
        chosen = self._path[fork] if fork < len(self._path) else 0
        return ends[min(chosen, len(ends) - 1)]
