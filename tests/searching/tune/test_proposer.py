"""Optuna is told the truth, and what a search proposes follows from its seed alone."""

import math
from random import Random
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.utils import flatten_dict

from packing.simulator import RUNGS, Simulator, first, reported
from perft.searching.agenda import Agenda
from perft.searching.objectives import FRONT
from perft.searching.sampling.samplers import DEFAULT_SAMPLER, SAMPLERS
from perft.searching.sampling.study import OptunaStudy
from perft.searching.tune.proposer import Proposer
from perft.searching.tune.tune_dicts import Proposal, to_result
from perft.trial import Origin
from searching.worlds import sampling

MAX_STEPS = RUNGS[-1]


def study(seed: int = 0) -> OptunaStudy:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = sampling(seed)
    return OptunaStudy(made.draw, SAMPLERS[DEFAULT_SAMPLER](made), None, "test", objective=FRONT)


def proposer(num_trials: int = 3) -> Proposer:
    agenda = Agenda(study(), num_trials=num_trials, max_steps=40)
    return Proposer(agenda, "here", "there", lambda: None)


def trials(of: OptunaStudy) -> list[FrozenTrial]:
    return of.study.get_trials(deepcopy=False)


def test_a_proposal_is_a_tune_configuration_with_optunas_number() -> None:
    searcher = proposer()
    for number in range(3):
        config = searcher.suggest(f"tune-{number}")
        assert isinstance(config, dict)
        proposal = Proposal.from_tune(config)
        assert proposal.number == number
        assert proposal.coordinator == "here"
        assert proposal.params["lr"] == proposal.trial.training.lr
        assert proposal.trial.training.max_steps == MAX_STEPS


def test_a_searcher_waits_and_then_is_finished() -> None:
    searcher = proposer(num_trials=1)
    config = Proposal.from_tune(searcher.suggest("a"))  # type: ignore[arg-type]
    assert searcher.suggest("b") is None
    result = to_result(reported(MAX_STEPS), config.trial)
    searcher.on_trial_complete("a", flatten_dict(result))
    assert searcher.suggest("b") == Proposer.FINISHED


@pytest.mark.parametrize("last", [None, reported(10, 3.0)])
def test_an_error_is_a_failure(last: Any) -> None:
    of = study()
    of.draw()
    of.ended(0, "failed", last)
    assert trials(of)[0].state == TrialState.FAIL
    assert of.draw().number == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", RUNGS)
def test_a_value_that_is_not_finite_is_a_failure(loss: float, step: int) -> None:
    searcher = proposer()
    config = Proposal.from_tune(searcher.suggest("a"))  # type: ignore[arg-type]
    result = to_result(reported(step), config.trial)
    searcher.on_trial_complete("a", flatten_dict({**result, "val_loss": loss}))
    assert searcher._agenda._results[0].outcome == "failed"


def test_an_end_is_told_once() -> None:
    searcher = proposer()
    config = Proposal.from_tune(searcher.suggest("a"))  # type: ignore[arg-type]
    result = flatten_dict(to_result(reported(40, 1.0), config.trial))
    searcher.on_trial_complete("a", result)
    searcher.on_trial_complete("a", result)
    searcher.on_trial_complete("a", error=True)
    assert searcher._agenda._results[0].outcome == "complete"


def test_a_trial_that_was_not_drawn_has_the_next_number() -> None:
    of = study()
    drawn = of.draw()
    added = of.given(drawn.config, {}, Origin(kind="add"))
    assert (added.number, of.draw().number) == (1, 2)
    of.ended(1, "pruned", reported(10))
    of.ended(2, "complete", reported(40))
    assert [trial.state.name for trial in trials(of)] == ["RUNNING", "PRUNED", "COMPLETE"]


class Search(Simulator):
    """A search in miniature whose trials are Optuna's."""

    seed = 0

    def new_study(self) -> OptunaStudy:
        return study(self.seed)

    def study(self) -> list[tuple[Any, ...]]:
        found = self.agenda._study
        assert isinstance(found, OptunaStudy)
        return [
            (trial.number, trial.params, trial.state, trial.values, trial.user_attrs)
            for trial in found.study.get_trials(deepcopy=False)
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
