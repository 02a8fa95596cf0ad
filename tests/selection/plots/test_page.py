"""The page of a search: complete, small, safe, and the same for the same search."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from perft.config import RoutedConfig
from perft.selection.plots.page import to_html
from perft.trial import TrialResult
from pretend import ADAPTERS, BASE, search_of_six, search_of_six_confirmed, trial


def many(count: int) -> list[TrialResult]:
    """Trials of few sizes, every third one pruned."""
    return [
        dataclasses.replace(
            trial(
                number,
                correct=100 + number * 7 % 200,
                activated=1000 * 2 ** (number % 5),
                val_loss=1 + number * 3 % 10 / 10,
                outcome="pruned" if number % 3 == 2 else "complete",
            ),
            params={"lr": 1e-4 * (1 + number % 50), "variant": ADAPTERS[number % 6].variant},
        )
        for number in range(count)
    ]


def ids(page: str, kind: str) -> set[int]:
    return {int(number) for number in re.findall(rf'<g id="{kind}-(\d+)"', page)}


def facts(page: str) -> dict[str, list[str]]:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_every_trial_is_in_the_figures_that_can_show_it() -> None:
    page = to_html(search_of_six(), "first", BASE)
    for kind in ("front", "curve", "parallel"):
        assert ids(page, kind) == {0, 1, 2, 3, 4, 5}, kind
    assert ids(page, "bar") == {0, 1, 2, 3}
    assert set(facts(page)) == set("012345")
    assert "Trial 1, the best of the front with a router" in page
    assert "base alone: 10.0% (7.4-13.3)" in page
    for label in (">0<", ">1 knee<", ">3 best<"):
        assert label in page, label
    assert re.findall(r'<tr data-trial="(\d+)"', page) == ["0", "1", "3"]


def test_the_pointer_is_told_what_differs_and_the_page_the_rest() -> None:
    page = to_html(search_of_six(), "first")
    told = facts(page)["1"]
    assert told[0] == "trial 1 knee"
    assert "activated 4,000 (0.2% of the base)" in told
    assert "variant: perft-r" in told
    assert not any(line.startswith("lr:") for line in told)
    assert "lr 0.005" in page.partition("The same in all trials")[2]


def test_parameters_are_ranked_once_there_are_enough_trials() -> None:
    page = to_html(many(40), "many")
    assert "<h2>Importance of parameters</h2>" in page
    assert "<h2>Importance of parameters</h2>" not in to_html(search_of_six(), "few")


@pytest.mark.parametrize("count", [1, 2])
def test_few_trials_have_a_page(count: int) -> None:
    page = to_html(many(count), "few", BASE)
    assert ids(page, "front") == set(range(count))
    assert ids(page, "parallel") == (set(range(count)) if count > 1 else set())


def test_a_search_without_a_front_has_a_page_that_says_so() -> None:
    page = to_html(search_of_six()[4:], "none", BASE)
    assert "No trial ran to its full length" in page
    assert ids(page, "curve") == {4, 5}
    assert "0 trials" in to_html([], "none")


def test_losses_that_are_not_finite_are_left_out() -> None:
    failed = search_of_six()[5]
    broken = dataclasses.replace(failed.reports[0], val_loss=float("inf"))
    results = [*search_of_six()[:5], dataclasses.replace(failed, reports=(broken,))]
    assert ids(to_html(results, "first"), "curve") == {0, 1, 2, 3, 4}


@pytest.mark.slow
def test_no_page_is_larger_than_a_megabyte() -> None:
    page = to_html(many(600), "many", BASE)
    assert len(page.encode()) < 1_000_000
    assert "The 400 that trained the longest are shown" in page
    assert len(facts(page)) == 400


def test_the_same_search_gives_the_same_page() -> None:
    assert to_html(search_of_six_confirmed(), "x", BASE) == to_html(
        search_of_six_confirmed(), "x", BASE
    )


class Outline(HTMLParser):
    """The elements of a page that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs))
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.loads.append(f"{tag} {value}")
            if name.startswith("on"):
                self.handlers.append(name)


HOSTILE = r'</script><script>alert(1)</script><img src=x onerror=y> $\frac$ "&\x1b'


def test_names_and_values_are_text_and_nothing_is_loaded() -> None:
    results = [
        dataclasses.replace(
            trial(
                number,
                correct=100 + number,
                adapter=RoutedConfig(rank=2 + number, num_experts=4, top_k=2),
            ),
            params={HOSTILE: f"{HOSTILE}{number % 3}"},
        )
        for number in range(10)
    ]
    failed = dataclasses.replace(search_of_six()[5], number=10, error=HOSTILE)
    page = to_html([*results, failed], HOSTILE, BASE)
    outline = Outline()
    outline.feed(page)
    assert outline.scripts == [{"type": "application/json", "id": "facts"}, {}]
    assert (outline.loads, outline.handlers) == ([], [])
    assert f"error: {HOSTILE}" in facts(page)["10"]


def test_only_the_pages_own_script_may_run() -> None:
    page = to_html(search_of_six(), "first")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert f'content="{policy}"' in page
