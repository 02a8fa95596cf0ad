"""What is reported of scores: intervals that hold them, means that are means, a table of both."""

import io
import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from perft.selection.scores import SplitScore, macro_average, scores_table
from perft.tasks import Overlap

rights = st.lists(st.booleans(), min_size=1, max_size=80)


def score(right: list[bool], name: str = "boolq", **more: object) -> SplitScore:
    return SplitScore(split=name, protocol="rules", right=right, **more)


@given(st.lists(rights, min_size=1, max_size=6))
def test_the_mean_weighs_splits_alike_and_its_interval_holds_it(splits: list[list[bool]]) -> None:
    average = macro_average([score(right) for right in splits])
    mean = math.fsum(sum(right) / len(right) for right in splits) / len(splits)
    assert average.accuracy == pytest.approx(mean)
    assert 0.0 <= average.low <= average.accuracy <= average.high <= 1.0
    assert average.low < average.high
    assert average.splits == len(splits)


def test_the_interval_of_the_mean_covers_as_often_as_it_says() -> None:
    rng = Random(0)
    shares, sizes = (0.9, 0.5, 0.7), (40, 25, 60)
    covered = 0
    for _ in range(1000):
        splits = [
            [rng.random() < share for _ in range(size)]
            for share, size in zip(shares, sizes, strict=True)
        ]
        average = macro_average([score(right) for right in splits])
        covered += average.low <= sum(shares) / 3 <= average.high
    assert 930 <= covered <= 980


def test_json_has_overlap_and_comparison_where_there_are() -> None:
    plain = score([True, False]).to_json()
    assert set(plain) == {"split", "protocol", "correct", "scored", "accuracy", "low", "high"}
    overlap = Overlap(same=1, seen=2, examples=2)
    full = score([True, False], overlap=overlap, against=[False, False]).to_json()
    assert full["overlap"] == {"same": 1, "seen": 2, "examples": 2}
    assert full["against"] == {
        "difference": 0.5, "only_first": 1, "only_second": 0, "p_value": 1.0,
        "verdict": "noise", "accuracy": 0.0,
    }  # fmt: skip
    assert json.loads(json.dumps(full)) == full


def shown(scores: list[SplitScore]) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(scores_table(scores, macro_average(scores)))
    return console.file.getvalue()


def test_the_table_fits_a_screen() -> None:
    overlap = Overlap(same=1, seen=2000, examples=10042)
    right = [True] * 7000 + [False] * 3042
    alone = shown([score(right, "hellaswag", overlap=overlap), score(right, "ARC-Challenge")])
    assert "7000/10042" in alone
    assert "mean of 2 tests" in alone
    assert "19.9%" in alone
    against = [False] * 4000 + [True] * 6042
    both = shown([score(right, "ARC-Challenge", overlap=overlap, against=against)])
    for text in ("ARC-Challenge", "69.7%", "60.2%", "+9.5%", "better", "3e-30", "verdict"):
        assert text in both
