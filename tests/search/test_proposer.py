"""Optuna is told the truth, and what it proposes follows from the seed alone."""

import math
from collections.abc import Mapping
from random import Random
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import ConcurrencyLimiter

from packing.simulator import RUNGS, Simulator, first
from perft.search.proposer import Proposer
from perft.search.space import Draw
from perft.search.tune_dicts import Proposal
from perft.trial import TrialConfig
from search.spaces import SMALL

MAX_STEPS = RUNGS[-1]
# Optuna says of several of its samplers' and storages' settings that they may change.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def proposer(seed: int = 0) -> Proposer:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Proposer(
        Draw(SMALL, True, seed, MAX_STEPS),
        "here",
        "there",
        lambda: None,
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=3),
        storage=None,
        study_name="test",
    )


def result(step: int, loss: float) -> dict[str, Any]:
    """What Tune passes on from a thin trial."""
    return {"val_loss": loss, "step": step, "full_length": step == MAX_STEPS}


def trials(searcher: Proposer) -> list[FrozenTrial]:
    return searcher._ot_study.get_trials(deepcopy=False)


def test_a_proposal_is_a_tune_configuration_with_optunas_number() -> None:
    searcher = proposer()
    for number in range(3):
        config = searcher.suggest(f"tune-{number}")
        assert config is not None
        assert config["number"] == number
        assert config["coordinator"] == "here"
        assert TrialConfig.from_flat(config["trial"]).training.max_steps == MAX_STEPS
        assert trials(searcher)[number].state == TrialState.RUNNING


def test_a_full_length_trial_is_complete_with_its_last_value() -> None:
    searcher = proposer()
    searcher.suggest("a")
    searcher.on_trial_result("a", result(10, 3.0))
    searcher.on_trial_result("a", result(20, 2.0))
    searcher.on_trial_complete("a", result(40, 1.0))
    (trial,) = trials(searcher)
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 1.0
    assert trial.intermediate_values == {10: 3.0, 20: 2.0, 40: 1.0}


def test_a_trial_stopped_at_a_rung_is_pruned_with_its_last_value() -> None:
    searcher = proposer()
    searcher.suggest("a")
    searcher.on_trial_result("a", result(10, 3.0))
    searcher.on_trial_complete("a", result(20, 2.5))
    (trial,) = trials(searcher)
    assert trial.state == TrialState.PRUNED
    assert trial.value == 2.5
    assert trial.intermediate_values == {10: 3.0, 20: 2.5}


def test_a_trial_stopped_at_its_first_rung_is_pruned() -> None:
    searcher = proposer()
    searcher.suggest("a")
    searcher.on_trial_complete("a", result(10, 3.0))
    (trial,) = trials(searcher)
    assert trial.state == TrialState.PRUNED
    assert trial.value == 3.0


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", RUNGS)
def test_a_value_that_is_not_finite_is_a_failure(loss: float, step: int) -> None:
    searcher = proposer()
    searcher.suggest("a")
    searcher.on_trial_complete("a", result(step, loss))
    assert trials(searcher)[0].state == TrialState.FAIL
    assert searcher.suggest("b") is not None


@pytest.mark.parametrize("last", [None, result(10, 3.0)])
def test_an_error_is_a_failure(last: dict[str, Any] | None) -> None:
    searcher = proposer()
    searcher.suggest("a")
    searcher.on_trial_complete("a", last, error=True)
    assert trials(searcher)[0].state == TrialState.FAIL


def test_an_end_is_told_once() -> None:
    searcher = proposer()
    searcher.suggest("a")
    searcher.on_trial_complete("a", result(40, 1.0))
    searcher.on_trial_complete("a", result(40, 1.0))
    searcher.on_trial_complete("a", error=True)
    assert trials(searcher)[0].state == TrialState.COMPLETE


def test_every_proposal_is_made_known() -> None:
    seen: list[str] = []
    searcher = proposer()
    searcher._on_proposed = lambda: seen.append("proposed")
    searcher.suggest("a")
    searcher.suggest("b")
    assert seen == ["proposed", "proposed"]


class Search(Simulator):
    """A search in miniature whose trials are Optuna's, told of them as Tune tells."""

    seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        concurrent = min(self.groups * self.slots, self.num_trials)
        self.proposer = proposer(self.seed)
        self.searcher = ConcurrencyLimiter(self.proposer, concurrent)

    def proposal(self, number: int) -> TrialConfig:
        config = self.searcher.suggest(f"tune-{number}")
        assert config is not None
        return Proposal.from_tune(config).trial

    def tell(self, number: int, result: Mapping[str, Any], ended: bool) -> None:
        act = self.searcher.on_trial_complete if ended else self.searcher.on_trial_result
        act(f"tune-{number}", result)

    def tell_failed(self, number: int) -> None:
        self.searcher.on_trial_complete(f"tune-{number}", error=True)

    def study(self) -> list[tuple[Any, ...]]:
        return [
            (trial.number, trial.params, trial.state, trial.value, trial.intermediate_values)
            for trial in trials(self.proposer)
        ]


@pytest.mark.parametrize("shape", [(1, 4), (2, 2)])
def test_a_study_follows_from_the_seed_whatever_the_timing(shape: tuple[int, int]) -> None:
    trouble: dict[str, Any] = {"failing": {0: 10, 5: 10}, "crashing": frozenset({7})}
    calm = Search(1, 4, 14, first, **trouble).run().study()
    states = [trial[2] for trial in calm]
    assert states.count(TrialState.FAIL) == 3
    assert TrialState.PRUNED in states
    assert TrialState.COMPLETE in states
    assert len({str(trial[1]) for trial in calm}) == 14
    for seed in range(6):
        hasty = Search(*shape, 14, Random(seed).randrange, kills=3, restarts=3, **trouble)
        assert hasty.run().study() == calm


def test_another_seed_gives_another_study(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Search(1, 4, 6).run().study()
    monkeypatch.setattr(Search, "seed", 1)
    assert Search(1, 4, 6).run().study() != one
