"""A study of forgetting shows what was planted, where adapters are tuned, and no noise."""

import pytest

from perft.search_folder import STUDY_PAGE, STUDY_PNG
from perft.studies.answers import Answers, Cell
from perft.studies.page import pages
from pretend import BASE
from studies.planted import DESIGN, FORGETS, SETTINGS, Truth, trained

TEXT = "forgot_pretraining"


def score(width: int, rate: float) -> float:
    """Best at the usual rate."""
    return 0.6 - abs(rate - 1.0) / 10


def found(forgot: Truth, spread: float = 0.01) -> dict[str, bool]:
    answers = Answers.of(trained(score, measures={TEXT: forgot}, spread=spread))
    return {each.text: each.is_shown for each in FORGETS.findings(answers)}


def starting(texts: dict[str, bool], start: str) -> bool:
    """Whether the only finding that starts so is shown."""
    (shown,) = [is_shown for text, is_shown in texts.items() if text.startswith(start)]
    return shown


def test_what_is_forgotten_and_by_whom_more_is_shown() -> None:
    texts = found(lambda width, rate: 0.3 if width > 4 else 0.1)
    assert starting(texts, "**small** forgets of pretraining: its loss there is higher")
    assert starting(texts, "**large** forgets of pretraining: its loss there is higher")
    assert starting(texts, "**large** forgets more of pretraining than small, both tuned.")


def test_more_with_size_and_with_the_rate_is_shown() -> None:
    texts = found(lambda width, rate: width / 20 + rate / 5)
    assert starting(texts, "**large** forgets more of pretraining as s r16 than as s r8 (")
    assert starting(texts, "**large** forgets more of pretraining as s r16 at 2x than as s r16 at")


def test_what_is_learnt_of_it_is_no_forgetting() -> None:
    texts = found(lambda width, rate: -0.2)
    assert starting(texts, "**small** is better on pretraining than the base alone")


def test_noise_shows_nothing() -> None:
    texts = found(lambda width, rate: 0.0, spread=0.02)
    assert len(texts) == 2 + 1 + 2 + 2
    assert sum(texts.values()) <= 1


def test_it_is_read_where_the_score_of_other_seeds_is_best() -> None:
    answers = Answers.of(trained(score, measures={TEXT: lambda width, rate: rate}, spread=1e-4))
    where = answers.measured(["s r8"], "forgot_pretraining")
    assert where is not None
    assert where.mean == pytest.approx(1.0, abs=1e-3)
    at = answers.measured_at(Cell("s r8", 2.0), "forgot_pretraining")
    assert at is not None
    assert at.mean == pytest.approx(2.0, abs=1e-3)
    assert answers.measured(["s r8"], "forgot_other") is None


def test_the_page_has_every_finding_and_every_cell() -> None:
    results = trained(score, measures={TEXT: lambda width, rate: width / 20})
    made = pages(FORGETS, results, BASE, {**SETTINGS, "other_texts": ["pretraining"]})
    page = made[STUDY_PAGE].decode()
    for each in FORGETS.findings(Answers.of(results)):
        assert f"- {each.text}" in page
    assert page.count("\n| s r") == len(DESIGN.adapters) * len(DESIGN.rates)
    assert "--other-text" not in page
    assert made[STUDY_PNG].startswith(b"\x89PNG")
    others = pages(FORGETS, results, BASE, {**SETTINGS, "other_texts": ["/a/notes.txt"]})
    assert "--other-text /a/notes.txt" in others[STUDY_PAGE].decode()
