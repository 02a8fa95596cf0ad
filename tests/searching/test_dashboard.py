"""The screen of a search fits every terminal, and cuts no number."""

import io
import itertools
import re

import pytest
from rich.console import Console

import pretend
from perft.config import RoutedConfig
from perft.searching.dashboard import Snapshot, dashboard
from perft.searching.ledger import Entry

LONG = RoutedConfig(rank=16, num_experts=8, top_k=4, form="parallel", balance=0.05)


def entries(count: int) -> list[Entry]:
    made = []
    for number in range(count):
        outcome = None if number >= count - 4 else ("complete", "pruned", "failed")[number % 3]
        trial = pretend.trial(
            number,
            correct=100 + 3 * number,
            activated=1000 * (number + 1) ** 2,
            adapter=LONG if number % 4 == 3 else None,
            outcome=outcome or "pruned",
        )
        made.append(
            Entry(
                number, trial.config, reports=list(trial.reports), size=trial.size, outcome=outcome
            )
        )
    return made


def snapshot(count: int = 16, *, notes: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(
        title="search first",
        clock="61:05",
        stage="training; the first steps compile the base",
        count=f"{count - 4}/{count} trials",
        share=0.4,
        outlook="about 12 min left  ·  12.21 GPU hours  ·  budget 2.0 h, 12,000 steps",
        entries=entries(count),
        steps={count - 1: 123},
        max_steps=200,
        notes=notes,
    )


def drawn(now: Snapshot, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(dashboard(now, width, height))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [4, 5, 16, 80])
@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (130, 24), (200, 50)])
def test_it_fits_the_screen_and_cuts_nothing(count: int, size: tuple[int, int]) -> None:
    for notes in ((), ("[0:50] trial   4  failed: the training loss is nan at step 3",)):
        lines = drawn(snapshot(count, notes=notes), *size)
        assert len(lines) <= size[1]
        assert max(map(len, lines)) <= size[0]
        assert "…" not in "".join(lines)
        assert not notes or "nan at step 3" in lines[-1]


def test_a_wide_screen_shows_all_and_a_narrow_one_what_matters() -> None:
    wide, narrow = ("\n".join(drawn(snapshot(), *size)) for size in ((200, 50), (80, 24)))
    for text in (wide, narrow):
        for fact in ("40%", "12/16 trials", "about 12 min left", "4,938 tokens/s", "123/200"):
            assert fact in text
        for column in ("front", "score", "activated", "variant", "best", "val loss", "accuracy"):
            assert column in text
    for column in ("train loss", "tokens/s"):
        assert column in wide
        assert column not in narrow.partition("variant")[2]
    assert "31.8% (27.4-36.5)" in narrow, "the best trial so far, number 9"


def test_every_row_is_a_trial_that_runs_or_the_latest() -> None:
    text = "\n".join(drawn(snapshot(80), 80, 24))
    shown = [
        int(n) for n in re.findall(r"^ +(\d+)  .*(?:running|complete|pruned|failed)", text, re.M)
    ]
    assert shown[-4:] == [76, 77, 78, 79]
    assert all(b - a == 1 for a, b in itertools.pairwise(shown))
