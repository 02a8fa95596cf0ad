"""What a search may use in all: hours, GPU hours, optimiser steps. No clock, no Ray."""

from dataclasses import dataclass

from perft.checks import require_at_least_zero, require_positive, require_positive_number
from perft.errors import ConfigError

HOUR = 3600.0
"""Seconds of an hour."""

MAX_STEPS_TOTAL = 10**12
"""Most steps of a search."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The bounds of a search beside its number of trials; None for no bound.

    Attributes:
        max_hours: hours that it runs, all its processes together.
        max_gpu_hours: the same, times the GPUs of its worker groups.
        max_steps_total: optimiser steps of all its trials together.
    """

    max_hours: float | None = None
    max_gpu_hours: float | None = None
    max_steps_total: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_hours", "max_gpu_hours"):
            if getattr(self, name) is not None:
                require_positive_number(name, getattr(self, name))
        if self.max_steps_total is not None:
            require_positive("max_steps_total", self.max_steps_total, MAX_STEPS_TOTAL)

    @property
    def is_bounded(self) -> bool:
        """Whether it has any bound."""
        return self != Budget()

    def require_length(self, max_steps: int) -> None:
        """Refuses a budget that allows no full-length trial.

        Args:
            max_steps: optimiser steps of a full-length trial.

        Raises:
            ConfigError: if `max_steps_total` is less.
        """
        if self.max_steps_total is not None and self.max_steps_total < max_steps:
            raise ConfigError(
                f"--max-steps-total is {self.max_steps_total:,}, and one full-length trial takes "
                f"{max_steps:,} steps; raise it, or lower --max-steps"
            )

    def require_gpus(self, gpus: float) -> None:
        """Refuses GPU hours for a search that trains on CPUs.

        Args:
            gpus: GPUs of all its worker groups.

        Raises:
            ConfigError: if `max_gpu_hours` is set and there are none.
        """
        if self.max_gpu_hours is not None and not gpus:
            raise ConfigError(
                f"--max-gpu-hours is {self.max_gpu_hours:g}, and the search trains on CPUs; say "
                "--max-hours"
            )

    def seconds_left(self, spent: "Spent", gpus: float) -> float | None:
        """Seconds until the hours or the GPU hours are used up, at least 0; None without a bound.

        Args:
            spent: what the search has used.
            gpus: GPUs of its worker groups now.
        """
        left = []
        if self.max_hours is not None:
            left.append(self.max_hours * HOUR - spent.seconds)
        if self.max_gpu_hours is not None and gpus:
            left.append((self.max_gpu_hours * HOUR - spent.gpu_seconds) / gpus)
        return max(min(left), 0.0) if left else None

    def steps_left(self, reserved: int) -> int | None:
        """Steps that are free, at least 0; None without a bound.

        Args:
            reserved: steps that ended trials have done, and running ones would do in all.
        """
        if self.max_steps_total is None:
            return None
        return max(self.max_steps_total - reserved, 0)

    def fits(self, steps: int, reserved: int) -> bool:
        """Whether a trial of so many steps may be proposed; depends on no clock.

        A running trial has its full length reserved, so no trial is ever cut short. One that is
        stopped at a rung frees the rest: what does not fit now may fit later.
        """
        left = self.steps_left(reserved)
        return left is None or steps <= left


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a search has used, all its processes together.

    Attributes:
        seconds: that its worker groups were there.
        gpu_seconds: the same, times their GPUs.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("seconds", "gpu_seconds"):
            require_at_least_zero(name, getattr(self, name))
