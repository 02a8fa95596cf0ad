"""A study of routers shows what was planted of them, and no noise."""

from perft.search_folder import STUDY_PAGE, STUDY_PNG
from perft.studies.answers import Answers
from perft.studies.page import pages
from pretend import BASE
from studies.planted import ROUTERS, SETTINGS, Truth, trained

MEASURES: dict[str, Truth] = {
    "router_moved": lambda width, rate: rate,
    "router_load": lambda width, rate: 1.5,
    "router_entropy": lambda width, rate: 0.9,
    "router_cka": lambda width, rate: 0.4,
    "start_cka": lambda width, rate: 0.2,
    "router_nmi": lambda width, rate: 0.1,
    "start_nmi": lambda width, rate: 0.3,
    "swap_start": lambda width, rate: 0.2,
    "swap_base": lambda width, rate: 0.5,
}


def score(width: int, rate: float) -> float:
    return 0.5 + width / 40 - abs(rate - 1.0) / 10


def test_what_was_planted_is_shown() -> None:
    results = trained(score, measures=MEASURES)
    shown = [each.text for each in ROUTERS.findings(Answers.of(results)) if each.is_shown]
    starts = (
        "**s r16** is better than s r4, both tuned",
        "**s r16**: with the router it started with in place of the learned one the loss is higher",
        "**s r16**: with the router of the base in place of the learned one the loss is higher",
        "**s r16**: its learned router is more like the base's than the router it started",
        "**s r16**: its learned router is less like the base's than the router it started",
        "**s r16**: its router goes farther at 2x than at 0.5x (2.0",
    )
    for start in starts:
        assert [text for text in shown if text.startswith(start)], (start, shown)


def test_noise_shows_nothing() -> None:
    measures = dict.fromkeys(MEASURES, _nothing)
    results = trained(lambda width, rate: 0.5, measures=measures, spread=0.02)
    findings = ROUTERS.findings(Answers.of(results))
    assert len(findings) == 2 * 6
    assert sum(each.is_shown for each in findings) <= 1


def _nothing(width: int, rate: float) -> float:
    return 0.0


def test_a_router_that_does_not_fit_has_no_swap_and_its_page_none_either() -> None:
    measures = {name: of for name, of in MEASURES.items() if name != "swap_base"}
    results = trained(score, measures=measures)
    made = pages(ROUTERS, results, BASE, {**SETTINGS})
    page = made[STUDY_PAGE].decode()
    assert "of the base in place" not in page
    assert "it started with in place" in page
    heading = next(line for line in page.splitlines() if line.startswith("| adapter | tuned"))
    rows = [line for line in page.splitlines() if line.startswith("| s r")]
    assert {row.count("|") for row in rows[:3]} == {heading.count("|")}
    assert made[STUDY_PNG].startswith(b"\x89PNG")
