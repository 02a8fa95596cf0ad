"""The corner cases of a search space: its smallest and largest adapters, before anything runs."""

from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler

from perft.config import AdapterConfig, Variant
from perft.search.space import SearchSpace
from perft.trial import AdapterSize

Corner = tuple[AdapterConfig, AdapterSize]


def extreme_adapters(space: SearchSpace, embedded: bool) -> tuple[AdapterConfig, ...]:
    """Every adapter that a space draws from the ends of its ranges, each once.

    All choices of a categorical are taken and both ends of a range of whole numbers, along every
    branch that the space has. Real numbers, such as rates, stay at their low end: none of them
    changes how large an adapter is.

    Args:
        space: the search space.
        embedded: whether the base is the embedded one.

    Raises:
        ConfigError: if the space draws an adapter that makes no sense.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    walk = _Walk()
    study = optuna.create_study(sampler=walk)
    found: dict[AdapterConfig, None] = {}
    for _ in walk.paths():
        found[space.suggest(study.ask(), embedded).adapter] = None
    return tuple(found)


def corners(sizes: Mapping[AdapterConfig, AdapterSize]) -> dict[Variant, tuple[Corner, Corner]]:
    """The smallest and the largest adapter of every variant, by trainable, then activated."""

    def extent(corner: Corner) -> tuple[int, int]:
        return corner[1].trainable, corner[1].activated

    by_variant: dict[Variant, list[Corner]] = {}
    for config, size in sizes.items():
        by_variant.setdefault(config.variant, []).append((config, size))
    return {
        variant: (min(found, key=extent), max(found, key=extent))
        for variant, found in by_variant.items()
    }


class _Walk(BaseSampler):
    """Takes a define-by-run space along all its paths, depth first, one path per trial."""

    def __init__(self) -> None:
        self._path: list[int] = []
        self._choices: list[int] = []  # how many there were at each fork of the last trial

    def paths(self) -> Iterator[None]:
        """Once for each path; between two of them, one trial is asked for."""
        while True:
            self._choices = []
            yield
            self._path += [0] * (len(self._choices) - len(self._path))
            while self._path and self._path[-1] + 1 == self._choices[len(self._path) - 1]:
                self._path.pop()
            if not self._path:
                return
            self._path[-1] += 1

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The choice of this path at its next fork."""
        ends = _ends(param_distribution)
        fork = len(self._choices)
        self._choices.append(len(ends))
        return ends[self._path[fork] if fork < len(self._path) else 0]

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Nothing: every parameter is a fork of its own."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Nothing, as above."""
        return {}


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert hasattr(distribution, "low")
    if isinstance(distribution, IntDistribution) and distribution.high > distribution.low:
        return distribution.low, distribution.high
    return (distribution.low,)
