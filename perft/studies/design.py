"""The design of a study: every adapter at every learning rate with every seed.

It is the `training`, `suggest` and `points` of a search space whose search draws every trial once.
The seeds come in order, all trials of one before the next: a search of fewer trials has fewer
seeds.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from perft.config import AdapterConfig, TrainingConfig
from perft.files import Json
from perft.trial import TrialConfig

SEEDS, MAX_SEEDS = 3, 5
"""Usual and most trainings of an adapter at one learning rate."""
ADAPTER, RATE, SEED = "adapter", "rate", "seed"
"""The parameters of a trial."""


class Asked(Protocol):
    """What of an Optuna trial is used."""

    def suggest_categorical(self, name: str, choices: Sequence[str | float | int]) -> object:
        """One of the choices."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Adapters, each at several learning rates.

    Attributes:
        adapters: by the names that the page of the study calls them.
        rates: factors of the usual learning rate.
        usual: `usual(builtin)` returns the training configuration with the usual rate.
    """

    adapters: Mapping[str, AdapterConfig]
    rates: tuple[float, ...]
    usual: Callable[[bool], TrainingConfig]

    @property
    def cells(self) -> int:
        """Trials of one seed."""
        return len(self.adapters) * len(self.rates)

    @property
    def points(self) -> list[dict[str, Json]]:
        """The parameters of all trials, in the order in which they are drawn."""
        factors = (range(MAX_SEEDS), self.rates, self.adapters)
        return [
            {ADAPTER: adapter, RATE: rate, SEED: seed}
            for seed, rate, adapter in itertools.product(*factors)
        ]

    def training(self, builtin: bool) -> TrainingConfig:
        """The training configuration, except for rate and seed."""
        return self.usual(builtin)

    def suggest(self, trial: Asked, builtin: bool) -> TrialConfig:
        """One trial; its seed is added to the search's."""
        name = trial.suggest_categorical(ADAPTER, tuple(self.adapters))
        rate = trial.suggest_categorical(RATE, self.rates)
        seed = trial.suggest_categorical(SEED, tuple(range(MAX_SEEDS)))
        assert isinstance(rate, float)
        assert isinstance(seed, int)
        training = self.usual(builtin)
        training = dataclasses.replace(training, lr=rate * training.lr, seed=seed)
        return TrialConfig(self.adapters[str(name)], training)
