"""What every pruner of the table keeps to; and ASHA decides as Ray Tune's scheduler does."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.dict import flatten_dict
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from perft.config import SingleConfig, TrainingConfig
from perft.errors import ConfigError
from perft.searching.prepare import SearchRequest
from perft.searching.pruning.pruners import PRUNERS, Pruner, RungReport
from perft.searching.space import REDUCTION_FACTOR
from perft.searching.tune.rung_scheduler import RungScheduler
from perft.searching.tune.tune_dicts import Proposal
from perft.trial import AdapterSize, Report, TrialConfig

RUNGS = (10, 20, 40)
CONFIG = TrialConfig(SingleConfig(rank=2), TrainingConfig(lr=1e-3, max_steps=40, warmup_steps=0))
SIZE = AdapterSize(trainable=2, activated=1, base_activated=9)
CURVES = (
    (2.1, 1.4, 1.3), (1.9, 1.6, 1.1), (1.95, 1.45, 1.2), (1.7, 1.2, 0.9), (2.4, 2.3, 2.2),
    (1.7, 1.2, 0.8), (1.8, 1.3, 1.0), (2.0, 1.1, 0.7), (1.6, 1.4, 1.3), (1.9, 1.0, 0.6),
)  # fmt: skip
"""Losses at the rungs, by trial."""

# Reports in the order in which a search acts on them: of a trial, and its loss at its next rung.
ORDERS = st.lists(
    st.tuples(st.integers(0, 12), st.floats(0.0, 4.0) | st.sampled_from([0.5, 1.0, 1.5])),
    max_size=60,
)
RUNG_STEPS = st.sampled_from([RUNGS, (6, 12, 25), (3, 7), (1, 3, 7), (5, 10, 21, 43), (9,)])


def report(number: int, step: int, loss: float) -> RungReport:
    measured = Report(
        step=step, train_loss=1.0, val_loss=loss, correct=0, scored=0, lr=1e-3, tokens_per_second=1,
        router_load=(0.25, 0.75), measures={"reward_margin": 0.5},
    )  # fmt: skip
    return RungReport(number=number, config=CONFIG, size=SIZE, report=measured)


def played(pruner: Pruner, curves: Sequence[Sequence[float]] = CURVES) -> list[tuple[int, int]]:
    """Who is stopped where, when all that still run report rung after rung."""
    stopped: dict[int, int] = {}
    for rung, step in enumerate(RUNGS[:-1]):
        for number, curve in enumerate(curves):
            if number not in stopped and pruner.stops(report(number, step, curve[rung])):
                stopped[number] = step
    return sorted(stopped.items())


@pytest.mark.parametrize("name", PRUNERS)
def test_answers_follow_from_what_was_told(name: str) -> None:
    assert played(PRUNERS[name](RUNGS, "loss")) == played(PRUNERS[name](RUNGS, "loss"))


@pytest.mark.parametrize("name", PRUNERS)
def test_who_is_alone_or_the_best_so_far_goes_on(name: str) -> None:
    pruner = PRUNERS[name](RUNGS, "loss")
    for number, loss in enumerate([2.0, 1.9, 1.5, 1.1, 0.3]):
        assert not pruner.stops(report(number, 10, loss))


@pytest.mark.parametrize("name", PRUNERS)
@given(
    before=st.lists(st.floats(0.0, 4.0), max_size=9),
    losses=st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 4.0)),
)
def test_who_is_worse_than_one_that_is_stopped_is_stopped(
    name: str, before: list[float], losses: tuple[float, float]
) -> None:
    answers = []
    for loss in sorted(losses):
        pruner = PRUNERS[name](RUNGS, "loss")
        for number, other in enumerate(before):
            pruner.stops(report(number, 10, other))
        answers.append(pruner.stops(report(99, 10, loss)))
    assert answers == sorted(answers)


def test_none_stops_nobody_and_asha_the_worse_half() -> None:
    assert played(PRUNERS["none"](RUNGS, "loss")) == []
    # By hand: a loss above the median of those that came before it at its rung.
    assert played(PRUNERS["asha"](RUNGS, "loss")) == [(1, 20), (4, 10), (7, 10), (8, 20)]


@given(order=ORDERS, rungs=RUNG_STEPS)
def test_asha_decides_as_tunes_scheduler_does_inside_tune(
    order: list[tuple[int, float]], rungs: tuple[int, ...]
) -> None:
    """Through all hooks that Tune calls, of which `Asha` calls one."""
    tunes = ASHAScheduler(
        time_attr="step", metric="val_loss", mode="min", max_t=rungs[-1], grace_period=rungs[0],
        reduction_factor=REDUCTION_FACTOR,
    )  # fmt: skip
    ours = PRUNERS["asha"](rungs, "loss")
    next_rung: dict[int, int] = {}
    for number, loss in order:
        trial, index = SimpleNamespace(trial_id=str(number)), next_rung.get(number, 0)
        if index == len(rungs):
            continue
        if index == 0:
            tunes.on_trial_add(None, trial)
        next_rung[number] = index + 1
        result = {"step": rungs[index], "val_loss": loss}
        if index == len(rungs) - 1:  # it is done: Tune asks no scheduler
            tunes.on_trial_complete(None, trial, result)
            continue
        decision = tunes.on_trial_result(None, trial, result)
        assert ours.stops(report(number, rungs[index], loss)) == (decision == TrialScheduler.STOP)
        if decision == TrialScheduler.STOP:
            next_rung[number] = len(rungs)
            tunes.on_trial_complete(None, trial, result)


class Recording:
    """Stops the trials of odd numbers, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[RungReport] = []

    def stops(self, at: RungReport) -> bool:
        self.told.append(at)
        return at.number % 2 == 1


def test_a_pruner_hears_configuration_size_and_report_of_what_tune_hands_on() -> None:
    pruner = Recording()
    scheduler = RungScheduler(pruner, lambda _trial: False)
    for number in (0, 1, 0):  # the process of trial 0 has died, and it reports again
        at = report(number, 10, 2.0)
        result: dict[str, Any] = {
            "step": 10, "val_loss": 2.0, "report": at.report.to_json(), "size": vars(SIZE)
        }  # fmt: skip
        proposal = Proposal(number=number, trial=CONFIG, coordinator="c", namespace="n")
        decision = scheduler.on_trial_result(
            None, SimpleNamespace(config=proposal.to_tune()), flatten_dict(result)
        )
        assert decision == ("STOP" if number == 1 else "CONTINUE")
    assert pruner.told == [report(0, 10, 2.0), report(1, 10, 2.0)]


def test_a_trial_that_must_stop_is_stopped_and_the_pruner_hears_of_it() -> None:
    pruner = Recording()
    scheduler = RungScheduler(pruner, {2}.__contains__)
    decisions = []
    for number in (0, 2):
        at = report(number, 10, 2.0)
        result: dict[str, Any] = {
            "step": 10, "val_loss": 2.0, "report": at.report.to_json(), "size": vars(SIZE)
        }  # fmt: skip
        proposal = Proposal(number=number, trial=CONFIG, coordinator="c", namespace="n")
        trial = SimpleNamespace(config=proposal.to_tune())
        decisions.append(scheduler.on_trial_result(None, trial, flatten_dict(result)))
    assert decisions == ["CONTINUE", "STOP"]
    assert [at.number for at in pruner.told] == [0, 2]


def test_the_pruner_that_the_documentation_shows_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "searching.md").read_text()
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(# perft/.*?)```", page, re.DOTALL)[0], names)
    pruner: Pruner = names["Patience"](RUNGS)
    assert not pruner.stops(report(0, 10, 2.0))
    assert not pruner.stops(report(1, 10, 3.0))
    assert not pruner.stops(report(0, 20, 1.9))
    assert pruner.stops(report(1, 20, 3.0))


def test_an_unknown_pruner_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown pruner 'ash'; did you mean 'asha'"):
        SearchRequest(space="arithmetic", pruner="ash")
