"""Studies say what is planted, and leave open what is not."""

import math

from perft.studies.answers import Answers
from studies.planted import CURVES, METHODS, PUBLISHED, trained


def said(study, results) -> dict[bool, list[str]]:
    found = study.findings(Answers.of(results))
    return {
        shown: [each.text for each in found if each.is_shown is shown] for shown in (True, False)
    }


def peak_at_eight(width: int, rate: float) -> float:
    return 0.8 - 0.2 * abs(math.log2(width / 8))


def test_a_curve_that_rises_and_falls_is_shown_to() -> None:
    shown = said(CURVES, trained(peak_at_eight))[True]
    assert shown[0].startswith("**S** is better at 8 than at width 2 (+40.")
    assert shown[1].startswith("**S** falls beyond 8, up to 16,")


def test_a_flat_curve_shows_nothing() -> None:
    for draw in range(5):
        found = said(CURVES, trained(lambda width, rate: 0.5, draw=draw))
        assert found[True] == []
        assert any("is not shown to need more than width 2" in each for each in found[False])


def test_a_curve_that_still_rises_at_its_end_leaves_the_turn_open() -> None:
    found = said(CURVES, trained(lambda width, rate: 0.3 + 0.15 * math.log2(width)))
    assert any("where it turns is not known" in each for each in found[False])
    assert len(found[True]) == 1


def test_a_fall_at_high_rates_alone_is_the_rates() -> None:
    def truth(width: int, rate: float) -> float:
        return 0.8 - 0.2 * max(0.0, math.log2(width * rate / 8))

    found = said(CURVES, trained(truth))
    (moved,) = [each for each in found[True] if "at one fixed rate" in each]
    assert "so the turn is the rate's" in moved
    assert not any("falls beyond" in each for each in found[True]), "each width has its rate"


def test_methods_are_ranked_and_compared_with_the_reference() -> None:
    found = said(METHODS, trained(lambda width, rate: 0.5 if width < 8 else 0.7))
    assert found[True][0].startswith("**large** is better than small, both tuned (+2")
    assert any("turns round no order" in each for each in found[False])


def test_tuning_that_turns_the_ranking_round_is_shown() -> None:
    def truth(width: int, rate: float) -> float:
        if width < 8:
            return 0.6
        return 0.8 if rate == 0.5 else 0.4

    found = said(METHODS, trained(truth))
    (turned,) = [each for each in found[True] if each.startswith("**Tuning**")]
    assert "turns round what is shown without it: small over large" in turned
    assert any("**large** is better than small" in each for each in found[True])


def test_equal_methods_are_not_told_apart() -> None:
    found = said(METHODS, trained(lambda width, rate: 0.5))
    assert found[True] == []


def test_published_scores_that_come_out_again_are_shown_to() -> None:
    found = said(PUBLISHED, trained(lambda width, rate: 0.3 + width / 50))
    claim, ranking = found[True] if len(found[True]) == 2 else (found[True][0], found[False][0])
    assert claim.startswith("**s r16 over s r2**, by 14.0 points as published, holds here (+2")
    assert "Kendall's tau +1.00" in ranking


def test_a_published_claim_that_is_wrong_is_turned_round_and_one_of_noise_left_open() -> None:
    found = said(PUBLISHED, trained(lambda width, rate: 0.8 - width / 50))
    assert "is turned round here (-2" in found[True][0]
    assert "is neither shown nor refuted" in said(PUBLISHED, trained(lambda w, r: 0.5))[False][0]


def test_what_is_best_at_an_end_of_the_design_is_said_to_be() -> None:
    results = trained(lambda width, rate: 0.3 + width / 50 + rate / 10)
    (open_end,) = [each for each in said(METHODS, results)[False] if "**Not tried**" in each]
    assert "more than its largest adapter: large, small" in open_end
    assert "a higher rate than 2x: large, small" in open_end
    assert any(
        "perhaps better, is a higher rate than 2x at 2, 4, 8, 16." in each
        for each in said(CURVES, results)[False]
    )

    def within(width: int, rate: float) -> float:
        return 0.8 - 0.1 * abs(math.log2(rate)) - 0.1 * (width in (2, 4, 16))

    for study in (METHODS, CURVES):
        assert not any(
            "not tried" in each.lower() and "rate" in each
            for each in said(study, trained(within))[False]
        )
