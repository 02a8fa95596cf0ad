"""Times of several sides that run in turns, and their ratios."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

from perft.ranks import Ranks

Sides = Mapping[str, Callable[[], Any]]


def seconds(sides: Sides, turns: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every turn by side; the sides take turns, after one turn of warming up."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, run in sides.items():
            start = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                found[name].append(clock() - start)
    return found


def ratio(one: list[float], other: list[float]) -> float:
    """Median over the turns of how many times longer `one` took than `other`."""
    return median(a / b for a, b in zip(one, other, strict=True))


def clock_of(ranks: Ranks) -> Callable[[], float]:
    """CPU time of this process where it works alone on one thread: others do not disturb it."""
    alone = ranks.size == 1 and ranks.device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter
