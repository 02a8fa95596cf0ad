"""A trial's training configuration: a frozen dataclass that validates itself."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from perft.checks import (
    LARGEST_SEED,
    is_whole,
    require_at_least_zero,
    require_choice,
    require_positive,
    require_positive_number,
    require_whole,
    shown,
)
from perft.errors import ConfigError
from perft.files import Json

MAX_ROWS = 1 << 16
"""The largest batch, in examples."""
MAX_TOKENS = 1 << 20
"""The longest example, in tokens."""

ObjectiveName = Literal["sft", "dpo"]
"""The objectives; `perft.training.objective` has a file for each."""
OBJECTIVE_SETTINGS: Mapping[ObjectiveName, tuple[str, ...]] = {"sft": (), "dpo": ("beta",)}
"""By objective, its settings beside those that all share."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The training configuration of one trial.

    Attributes:
        lr: peak learning rate of AdamW.
        batch_size: examples per step, over all ranks together.
        max_steps: optimiser steps of a full-length trial.
        warmup_steps: steps of linear warm-up; the rate then decays linearly to 0 at `max_steps`.
        weight_decay: decoupled weight decay.
        clip_norm: largest 2-norm of the trial's gradient.
        loss_on: "answer" trains on the completion only, "all" on the prompt too.
        max_length: tokens of prompt plus completion; a longer prompt is cut at its beginning.
        seed: seeds the initial adapter, the order of the examples and dropout.
        objective: what is minimised: "sft", the cross-entropy of the answers, or "dpo", on pairs of
            answers of which one is preferred.
        beta: of "dpo", how strongly the adapter is kept close to the base.
    """

    lr: float
    batch_size: int = 16
    max_steps: int = 200
    warmup_steps: int = 20
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    loss_on: Literal["answer", "all"] = "answer"
    max_length: int = 256
    seed: int = 0
    objective: ObjectiveName = "sft"
    beta: float = 0.1

    def __post_init__(self) -> None:
        for name in ("lr", "clip_norm", "beta"):
            require_positive_number(name, getattr(self, name))
        require_positive("batch_size", self.batch_size, MAX_ROWS)
        require_positive("max_length", self.max_length, MAX_TOKENS)
        require_positive("max_steps", self.max_steps)
        if not (is_whole(self.warmup_steps) and 0 <= self.warmup_steps < self.max_steps):
            raise ConfigError(
                "warmup_steps must be a whole number in [0, max_steps), found "
                f"warmup_steps={shown(self.warmup_steps)} with max_steps={self.max_steps}"
            )
        require_at_least_zero("weight_decay", self.weight_decay)
        require_whole("seed", self.seed, 0, LARGEST_SEED)
        require_choice("loss_on", self.loss_on, ("answer", "all"))
        require_choice("objective", self.objective, get_args(ObjectiveName))
        if self.objective == "dpo" and self.loss_on == "all":
            raise ConfigError(
                'the objective "dpo" compares two answers to one prompt, found loss_on="all"; '
                'leave loss_on at "answer"'
            )

    def is_full_length(self, step: int) -> bool:
        """Whether a trial that has done `step` optimiser steps has done all of them."""
        return step >= self.max_steps

    def to_flat(self) -> dict[str, Json]:
        """The configuration as one flat dictionary of JSON values."""
        return dataclasses.asdict(self)
