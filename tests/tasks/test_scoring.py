"""Each way of scoring has a protocol of its own, and refuses what it cannot score."""

import dataclasses
from typing import get_args

import pytest

from perft.errors import ConfigError
from perft.tasks import Example, Scorer, Split
from perft.tasks.scoring import (
    PREFERENCE,
    Scoring,
    protocol_of,
    require_scorable,
    scoring_of,
)

SCORER = Scorer("rules", 4, str, str.__eq__)
PLAIN = Split("sums", (Example("1 + 1 =", " 2", "2"),), SCORER)
PAIR = Split("pairs", (Example("1 + 1 =", " 2", "2", rejected=" 3"),), PREFERENCE)
CHOICE = Split("pick", (Example("1 + 1 =", " 2", "2", (" 1", " 2")),), SCORER)


def test_no_two_ways_share_a_protocol() -> None:
    protocols = {
        scoring: protocol_of(PAIR if scoring == "preference" else CHOICE, scoring)
        for scoring in get_args(Scoring)
    }
    assert len(set(protocols.values())) == 4
    assert protocols["generation"] == "rules"
    assert "against the base alone" in protocols["preference"]


def test_likelihood_needs_choices() -> None:
    for scoring in ("generation", "likelihood", "likelihood-normalized"):
        require_scorable(CHOICE, scoring)
    require_scorable(PLAIN, "generation")
    for scoring in ("likelihood", "likelihood-normalized"):
        with pytest.raises(ConfigError, match="the examples of sums have none; score it by gen"):
            require_scorable(PLAIN, scoring)


def test_a_task_of_the_loss_alone_has_no_accuracy() -> None:
    silent = dataclasses.replace(PLAIN, scorer=dataclasses.replace(SCORER, max_new_tokens=0))
    with pytest.raises(ConfigError, match="sums has no accuracy"):
        require_scorable(silent, "generation")


def test_pairs_are_scored_by_preference_and_nothing_else_is() -> None:
    assert [scoring_of(split) for split in (PAIR, PLAIN)] == ["preference", "generation"]
    require_scorable(PAIR, "preference")
    with pytest.raises(ConfigError, match="preference compares pairs of answers and sums is not"):
        require_scorable(PLAIN, "preference")
    with pytest.raises(ConfigError, match="pairs is scored by preference, found generation"):
        require_scorable(PAIR, "generation")
