"""Each way of scoring has a protocol of its own, and refuses what it cannot score."""

import dataclasses
from typing import get_args

import pytest

from perft.errors import ConfigError
from perft.tasks import Example, Scorer, Split
from perft.tasks.scoring import Scoring, protocol_of, require_scorable

SCORER = Scorer("rules", 4, str, str.__eq__)
PLAIN = Split("sums", (Example("1 + 1 =", " 2", "2"),), SCORER)
CHOICE = Split("pick", (Example("1 + 1 =", " 2", "2", (" 1", " 2")),), SCORER)


def test_no_two_ways_share_a_protocol() -> None:
    protocols = [protocol_of(CHOICE, scoring) for scoring in get_args(Scoring)]
    assert len(set(protocols)) == 3
    assert protocols[0] == "rules"


def test_likelihood_needs_choices() -> None:
    for scoring in get_args(Scoring):
        require_scorable(CHOICE, scoring)
    require_scorable(PLAIN, "generation")
    for scoring in ("likelihood", "likelihood-normalized"):
        with pytest.raises(ConfigError, match="the examples of sums have none; score it by gen"):
            require_scorable(PLAIN, scoring)


def test_a_task_of_the_loss_alone_has_no_accuracy() -> None:
    silent = dataclasses.replace(PLAIN, scorer=dataclasses.replace(SCORER, max_new_tokens=0))
    with pytest.raises(ConfigError, match="sums has no accuracy"):
        require_scorable(silent, "generation")
