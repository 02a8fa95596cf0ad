"""Candidates for a proposal: random draws of a space, encoded as rows of numbers."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler

from perft.errors import SearchError
from perft.files import Json
from perft.searching.sampling.gaussian_process import Array, Columns
from perft.searching.sampling.quiet import quiet_optuna
from perft.searching.sampling.sampler import Draft, Sampling
from perft.trial import AdapterSize, TrialConfig

FIRST = 256
"""Draws that show which parameters a space has. A rarer one is not told apart."""
TRIES = 10_000
"""Draws after which there is nothing left to propose."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """A trial that could be proposed.

    Attributes:
        draft: its configuration and parameters.
        size: parameters of its adapter.
        row: shape (columns): its parameters, and last where the logarithm of its activated ones
            lies in the space's range.
    """

    draft: Draft
    size: AdapterSize
    row: Array


class Candidates:
    """Draws and encodes candidates."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        with quiet_optuna():
            self._study = optuna.create_study(sampler=RandomSampler(seed=sampling.seed))
        first = [self._draw() for _ in range(FIRST)]
        self._encoding = _Encoding(first)
        sizes = [size.activated for each in first if (size := self._size(each))]
        self._smallest = math.log(min(sizes, default=1))
        self._range = math.log(max(sizes, default=1)) - self._smallest or 1.0
        self.columns = self._encoding.columns

    def fresh(self, count: int, known: Collection[TrialConfig]) -> list[Candidate]:
        """At least one candidate that is allowed, of `count` draws or, if need be, more.

        Args:
            count: number of draws.
            known: configurations to leave out, as long as there are others.

        Raises:
            SearchError: if no adapter of the space fits the base and is allowed.
        """
        found: list[Candidate] = []
        for tried in range(TRIES):
            if tried >= count and found:
                break
            candidate = self.of(self._draw())
            if candidate and self._sampling.allows(candidate.size):
                found.append(candidate)
        if not found:
            raise SearchError(
                f"none of {TRIES:,} trials that the space has drawn fits the base and the limit on "
                "activated parameters; raise --max-activated"
            )
        return [each for each in found if each.draft.config not in known] or found

    def of(self, draft: Draft) -> Candidate | None:
        """The candidate of a draft; None if its adapter does not fit the base."""
        size = self._size(draft)
        if size is None:
            return None
        share = (math.log(size.activated) - self._smallest) / self._range
        row = np.array([*self._encoding(draft.params), share])
        return Candidate(draft=draft, size=size, row=row)

    def _draw(self) -> Draft:
        trial = self._study.ask()
        return Draft.of(self._sampling.draw(trial), trial)

    def _size(self, draft: Draft) -> AdapterSize | None:
        return self._sampling.size(draft.config.adapter)


class _Encoding:
    """Encodes parameters as numbers, one per column; the last column is the caller's.

    Args:
        drafts: draws that have all parameters between them.
    """

    def __init__(self, drafts: list[Draft]) -> None:
        self._distributions: dict[str, BaseDistribution] = {}
        for draft in drafts:
            self._distributions.update(draft.distributions)
        choices = [_is_choice(each) for each in self._distributions.values()]
        self.columns = Columns(np.array([*choices, False]))

    def __call__(self, params: Mapping[str, Json]) -> list[float]:
        """The parameters' numbers; NaN for those that are missing."""
        return [
            _encoded(params[name], kind) if name in params else math.nan
            for name, kind in self._distributions.items()
        ]


def _is_choice(kind: BaseDistribution) -> bool:
    """Whether values are alike or not, and nothing between: not so for numbers to choose from."""
    return isinstance(kind, CategoricalDistribution) and not _numbers(kind)


def _numbers(kind: CategoricalDistribution) -> list[float]:
    """The choices in ascending order, if all are numbers."""
    numbers = [each for each in kind.choices if type(each) in (int, float)]
    return sorted(float(str(each)) for each in numbers) if len(numbers) == len(kind.choices) else []


def _encoded(value: Json, kind: BaseDistribution) -> float:
    """A number in [0, 1], or the index of a choice."""
    if isinstance(kind, CategoricalDistribution):
        if numbers := _numbers(kind):
            return numbers.index(float(str(value))) / max(len(numbers) - 1, 1)
        return float(kind.choices.index(value))
    assert isinstance(kind, FloatDistribution | IntDistribution)
    scale = math.log if kind.log else float
    low, high = scale(kind.low), scale(kind.high)
    return (scale(float(str(value))) - low) / ((high - low) or 1.0)
