"""Counting who dominates whom, against the definition; and the pruner that goes by it."""

import math
import time
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from perft.config import SingleConfig, TrainingConfig
from perft.searching.pruning.dominance import Dominance
from perft.searching.pruning.front_pruner import LENIENCY, STRICT, FrontPruner
from perft.searching.pruning.pruners import RungReport
from perft.trial import AdapterSize, Report, TrialConfig

CONFIG = TrialConfig(SingleConfig(rank=2), TrainingConfig(lr=1e-3, max_steps=40, warmup_steps=0))

Point = tuple[float, int]

# Few values, so that ties and equal points are frequent.
FEW = st.tuples(st.sampled_from([0.5, 1.0, 1.5]), st.integers(1, 4))
MANY = st.tuples(st.floats(0.0, 4.0), st.integers(1, 9))
ODD = st.tuples(st.sampled_from([math.inf, math.nan]), st.integers(1, 4))
POINTS = st.lists(FEW | MANY, max_size=100)


def dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def at(number: int, point: Point, step: int = 10) -> RungReport:
    report = Report(
        step=step, train_loss=1.0, val_loss=point[0], correct=0, scored=0, lr=1e-3,
        tokens_per_second=1,
    )  # fmt: skip
    size = AdapterSize(trainable=9, activated=point[1], base_activated=99)
    return RungReport(number=number, config=CONFIG, size=size, report=report)


def kept(points: Sequence[Point]) -> list[bool]:
    pruner = FrontPruner()
    return [not pruner.stops(at(number, point)) for number, point in enumerate(points)]


@given(st.lists(FEW | MANY | ODD, max_size=100))
def test_dominators_are_counted_as_defined(points: list[Point]) -> None:
    seen = Dominance()
    for count, point in enumerate(points):
        assert len(seen) == count
        naive = sum(dominates(other, point) for other in points[:count])
        assert seen.dominators(*point) == naive
        seen.add(*point)
        assert seen.dominators(*point) == naive  # no point dominates itself


@settings(max_examples=40)
@given(st.lists(FEW, min_size=30, max_size=70))
def test_the_pruner_keeps_whom_few_dominate(points: list[Point]) -> None:
    expected = [
        sum(dominates(other, point) for other in points[:count])
        <= (LENIENCY * count if count >= STRICT else 0)
        for count, point in enumerate(points)
    ]
    assert kept(points) == expected


@given(POINTS)
def test_whom_nothing_dominates_goes_on(points: list[Point]) -> None:
    for count, point in enumerate(points):
        if not any(dominates(other, point) for other in points[:count]):
            assert kept(points[: count + 1])[-1]


def test_a_small_adapter_goes_on_whatever_its_loss() -> None:
    assert kept([(0.1, 4000), (0.2, 4000), (0.9, 600), (0.8, 600), (0.85, 600)]) == [
        True, False, True, True, False
    ]  # fmt: skip


def test_equal_trials_are_treated_equally() -> None:
    assert kept([(0.5, 100)] * 5) == [True] * 5
    assert kept([(0.4, 100), *[(0.5, 100)] * 5]) == [True] + [False] * 5


def test_a_loss_that_is_no_number_dominates_nothing() -> None:
    seen = Dominance()
    seen.add(math.nan, 100)
    assert seen.dominators(0.5, 200) == 0
    seen.add(0.5, 200)
    assert seen.dominators(math.nan, 300) == 0


def test_a_long_search_is_lenient_at_every_rung() -> None:
    pruner = FrontPruner()
    for number in range(10):
        pruner.stops(at(number, (1.0 + number, 100), step=20))
    assert pruner.stops(at(0, (1.5, 100), step=20))  # one of ten dominates it
    for number in range(STRICT + 1):
        pruner.stops(at(number, (1.0, 100), step=10))
    assert not pruner.stops(at(1, (1.25, 100), step=20))
    assert pruner.stops(at(2, (2.5, 100), step=20))  # four of twelve do


def test_rungs_are_apart() -> None:
    pruner = FrontPruner()
    assert not pruner.stops(at(0, (0.5, 100), step=10))
    assert not pruner.stops(at(1, (0.9, 100), step=20))
    assert pruner.stops(at(2, (0.9, 100), step=10))


def test_thousands_of_trials_cost_next_to_nothing() -> None:
    pruner, count = FrontPruner(), 10_000
    start = time.perf_counter()
    for number in range(count):
        pruner.stops(at(number, (1.0 / (1 + number % 97), 1 + number % 89)))
    assert (time.perf_counter() - start) / count < 0.005
