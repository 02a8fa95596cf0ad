"""Messages refuse what makes no sense, when they are made and when they arrive."""

import pickle
from typing import Any

import pytest

from packing.simulator import SIZE, config_of, reported
from perft.base_score import BaseScore
from perft.config import TrainingConfig
from perft.errors import ConfigError, SearchError
from perft.packing.messages import (
    Assignment,
    BatchResults,
    Failed,
    GroupStatus,
    NextReport,
    NotDue,
    Reported,
    Scored,
    SearchOver,
    ToScore,
    Work,
    received,
)
from perft.trial import AnswerCount, TrialConfig

COUNT = AnswerCount(3, 9)
ASSIGNMENT = Assignment(trial=3, config=config_of(10), reached=0, target=10, due=True)


def arrived(message: Any) -> Any:
    """As Ray hands it on."""
    return pickle.loads(pickle.dumps(message))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NextReport, reported(10, 0.25)),
        (NextReport, Failed("the loss is nan")),
        (NextReport, SearchOver("no base")),
        (BatchResults, {0: reported(10), 1: Failed("the loss is nan"), 2: NotDue(10)}),
        (Work, Work(assignments=(ASSIGNMENT,), to_score=ToScore(trials=(1, 2)))),
        (Work, Work(stop=True)),
        (Work, Work(to_score=ToScore(base=TrainingConfig(lr=1e-3)))),
        (Scored, Scored(trials={0: {"test": AnswerCount(3, 9)}})),
        (Scored, Scored(base=BaseScore(objective="sft", val_loss=2.5, tests={"test": COUNT}))),
        (GroupStatus, GroupStatus(started=(0,), stages={0: "importing"}, steps={7: 3})),
        (TrialConfig, config_of(10)),
        (int | None, None),
    ],
)
def test_messages_arrive_as_they_were_sent(kind: object, message: Any) -> None:
    assert received(kind, arrived(message), "it") == message


@pytest.mark.parametrize(
    ("kind", "message", "found"),
    [
        (NextReport, NotDue(10), "it must be an object"),
        (NextReport, {}, "it.report is missing"),
        (NextReport, None, "it must be an object, found None"),
        (BatchResults, {"0": NotDue(10)}, "a key of it must be a whole number"),
        (BatchResults, [NotDue(10)], "it must be an object"),
        (
            Scored,
            Scored(trials={0: {"test": (3,)}}),
            "it.trials.0.test must be a list of correct, scored",
        ),
        (
            Scored,
            Scored(trials={0: {"test": (3, "9")}}),
            "it.trials.0.test.scored must be a whole number",
        ),
        (Scored, {0: {"test": COUNT}}, "it: unknown field"),
        (TrialConfig, config_of(10).to_flat(), "it: unknown field"),
        (bool, 1, "it must be true or false"),
    ],
)
def test_what_should_not_have_been_sent_is_named(kind: object, message: Any, found: str) -> None:
    with pytest.raises(SearchError) as error:
        received(kind, arrived(message), "it")
    assert found in str(error.value)


def changed(message: Any, **fields: Any) -> Any:
    """A message that no constructor has seen, as of another version."""
    for name, value in fields.items():
        object.__setattr__(message, name, value)
    return message


def test_fields_are_checked_that_no_constructor_has_seen() -> None:
    far = changed(arrived(ASSIGNMENT), target=0)
    with pytest.raises(SearchError, match=r"assignments\[0\].target must be .* 1, found 0"):
        received(Work, Work(assignments=(far,)), "it")
    bad = arrived(reported(10))
    changed(bad.report, correct=9)
    with pytest.raises(SearchError, match=r"it.report.correct must be at most scored"):
        received(NextReport, bad, "it")
    newer = changed(arrived(NotDue(3)), reason="new")
    with pytest.raises(SearchError, match=r"unknown field 'reason'.*the same version of perft"):
        received(BatchResults, {0: newer}, "it")
    older = arrived(reported(10))
    del older.__dict__["size"]
    with pytest.raises(SearchError, match=r"it\.size is missing"):
        received(NextReport, older, "it")


def test_messages_refuse_what_makes_no_sense() -> None:
    for fields in ({"trial": -1}, {"reached": -1}, {"target": 5, "reached": 5}):
        with pytest.raises(ConfigError, match=next(iter(fields))):
            Assignment(**{**vars(ASSIGNMENT), **fields})
    with pytest.raises(ConfigError):
        Failed("")
    with pytest.raises(ConfigError):
        NotDue(-1)
    assert Reported(reported(10).report, SIZE) == reported(10)
