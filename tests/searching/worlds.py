"""A search space's trials with losses that are known, told to samplers as a search tells them."""

import math
from collections.abc import Callable

from perft.config import AdapterConfig
from perft.searching.objectives import FRONT
from perft.searching.sampling.sampler import Sampler, Sampling
from perft.searching.space import Draw, SearchSpace
from perft.trial import AdapterSize, Report, TrialConfig
from searching.spaces import SMALL

STEPS = 40


def size(adapter: AdapterConfig) -> AdapterSize:
    """Rank 4 is twice as large as rank 2, and perft-r larger than the others."""
    activated = 100 * adapter.rank * (3 if adapter.variant == "perft-r" else 1)
    return AdapterSize(trainable=2 * activated, activated=activated, base_activated=10**6)


def loss_of(config: TrialConfig) -> float:
    """Least at one learning rate, and less for larger adapters."""
    off = math.log10(config.training.lr) + 2.0
    return 0.1 + off**2 + 100 / size(config.adapter).activated


def sampling(
    seed: int = 0,
    objective: str = FRONT,
    allows: Callable[[AdapterSize | None], bool] = lambda _size: True,
    space: SearchSpace = SMALL,
) -> Sampling:
    return Sampling(
        draw=Draw(space, True, seed, STEPS),
        size=size,
        allows=allows,
        objective=objective,
        max_steps=STEPS,
        seed=seed,
    )


def report(step: int, loss: float) -> Report:
    return Report(
        step=step,
        train_loss=loss,
        val_loss=loss,
        correct=round(100 * math.exp(-loss)) if step == STEPS else 0,
        scored=100 if step == STEPS else 0,
        lr=1e-3,
        tokens_per_second=1.0,
    )


def run(
    sampler: Sampler,
    trials: int,
    loss: Callable[[TrialConfig], float] = loss_of,
    failing: Callable[[int], bool] = lambda _number: False,
    at_once: int = 4,
) -> list[TrialConfig]:
    """What is proposed by a search that stops every third trial and trains four at once."""
    found: list[TrialConfig] = []
    running: list[int] = []
    for number in range(trials):
        found.append(sampler.draw(number).config)
        running.append(number)
        if len(running) == at_once:
            end(sampler, running.pop(0), found, loss, failing)
    return found


def end(
    sampler: Sampler,
    number: int,
    found: list[TrialConfig],
    loss: Callable[[TrialConfig], float],
    failing: Callable[[int], bool],
) -> None:
    if failing(number):
        sampler.ended(number, "failed")
        return
    value = loss(found[number])
    sampler.reported(number, report(STEPS // 2, 1.5 * value))
    if number % 3 == 2:
        sampler.ended(number, "pruned")
    else:
        sampler.reported(number, report(STEPS, value))
        sampler.ended(number, "complete")
