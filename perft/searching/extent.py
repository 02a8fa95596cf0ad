"""The settings that all trials of a space share, and the bounds of those that vary.

Known before anything runs, from all paths of the space (`perft.searching.paths`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna

from perft.config import AdapterConfig
from perft.config.training import ObjectiveName
from perft.errors import AdapterError, ConfigError
from perft.searching.paths import Drawn, all_draws
from perft.trial import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The settings that all trials of a space share, and the bounds of those that vary.

    Attributes:
        max_steps: of every trial.
        smallest_batch: examples.
        largest_batch: examples.
        longest: the largest `max_length`, in tokens.
        objective: of every trial.
        layers: by choice of layers, an adapter and the parameters that it was drawn with.
        example: the parameters that the first trial was drawn with.
    """

    max_steps: int
    smallest_batch: int
    largest_batch: int
    longest: int
    objective: ObjectiveName
    layers: Mapping[str, tuple[AdapterConfig, str]]
    example: str

    @classmethod
    def of(cls, one: Drawn[TrialConfig]) -> "Extent":
        """The extent of one trial."""
        training = one.found.training
        return cls(
            max_steps=training.max_steps,
            smallest_batch=training.batch_size,
            largest_batch=training.batch_size,
            longest=training.max_length,
            objective=training.objective,
            layers={one.found.adapter.layers: (one.found.adapter, str(one))},
            example=str(one),
        )

    def wider(self, one: Drawn[TrialConfig]) -> "Extent":
        """The extent with one trial more."""
        training = one.found.training
        return dataclasses.replace(
            self,
            smallest_batch=min(self.smallest_batch, training.batch_size),
            largest_batch=max(self.largest_batch, training.batch_size),
            longest=max(self.longest, training.max_length),
            layers={one.found.adapter.layers: (one.found.adapter, str(one)), **self.layers},
        )

    def require_layers(self, count: int) -> None:
        """Checks that a base of `count` decoder layers has all that adapters choose.

        Raises:
            AdapterError: if it does not; says how such an adapter was drawn.
        """
        for adapter, example in self.layers.values():
            try:
                adapter.chosen_layers(count)
            except AdapterError as error:
                raise AdapterError(f"{error}; so it is at {example}") from error


def extent_of(draw: Callable[[optuna.Trial], TrialConfig]) -> Extent:
    """The extent of the trials that a search draws.

    Args:
        draw: draws its trials, as `perft.searching.space.Draw` does.

    Raises:
        ConfigError: if it draws invalid trials, or trials that cannot be compared; says which.
    """
    found: Extent | None = None
    for one in all_draws(draw):
        training = one.found.training
        if found is None:
            found = Extent.of(one)
        elif training.max_steps != found.max_steps:
            raise ConfigError(
                "trials of one search must have the same max_steps to be compared at rungs, the "
                f"space draws {found.max_steps} at {found.example}, and {training.max_steps} at "
                f"{one}; give all the same, or say --max-steps"
            )
        elif training.objective != found.objective:
            raise ConfigError(
                "trials of one search must have the same objective to be compared at rungs, the "
                f"space draws {found.objective} at {found.example}, and {training.objective} at "
                f"{one}; search for each of them"
            )
        else:
            found = found.wider(one)
    assert found is not None, "a space has a path"
    return found
