"""Whoever waits for the score of a split hears how far it is, whichever way it is scored."""

import dataclasses

import pytest

from contracts.adapters import SIX, add_random
from contracts.packs import loaded_base, tiny_task
from contracts.pairs import pair_task
from perft.evaluation.splits import predict_split
from perft.injection import AdapterHost
from perft.tasks import Split
from perft.tasks.scoring import Scoring

NAMES = ["perft-s", "perft-r"]


def with_choices() -> Split:
    split = tiny_task().validation
    choices = (" w3", " w4", " w9 w10")
    examples = [dataclasses.replace(each, choices=choices) for each in split.examples]
    return dataclasses.replace(split, examples=tuple(examples))


@pytest.mark.parametrize(
    ("scoring", "split"),
    [
        ("generation", tiny_task().validation),
        ("likelihood", with_choices()),
        ("preference", pair_task().validation),
    ],
)
def test_the_shares_of_the_batches_are_all_of_a_split(
    scoring: Scoring, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perft.evaluation.growing.rows_at_once", lambda *_: 6)
    monkeypatch.setattr("perft.evaluation.loss.TOKENS_PER_FORWARD", 100)
    base = loaded_base()
    host = AdapterHost(base.model)
    for seed, name in enumerate(NAMES):
        add_random(host, name, SIX[name], seed)
    shares: list[float] = []
    found = predict_split(base, host, NAMES, split, scoring, advance=shares.append)
    assert len(shares) > 1
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(1)
    assert [len(found[name]) for name in NAMES] == [len(split.examples)] * 2
