"""Fronts that tell nothing apart say so in words, and empty ones say why."""

import dataclasses

import pytest

from perft.base_score import BaseScore
from perft.selection import front_table, pareto_front, remarks, why_no_front
from perft.trial import AnswerCount, TrialResult
from pretend import search_of_six, trial


def test_an_ordinary_front_needs_no_remark() -> None:
    assert remarks(search_of_six()) == []


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([trial(0, correct=0), trial(1, correct=0)], "answers a single validation example rightly"),
        ([trial(0, correct=0)], "answers a single validation example rightly"),
        ([trial(0), trial(1, outcome="pruned")], "one trial ran to its full length"),
        ([trial(0), trial(1), trial(2, activated=5)], "all 3 full-length trials are equally"),
    ],
)
def test_a_front_that_tells_nothing_apart_says_so(results: list[TrialResult], words: str) -> None:
    (remark,) = remarks(results)
    assert words in remark
    assert pareto_front(results)
    assert front_table(results).row_count


@pytest.mark.parametrize(
    ("correct", "words"),
    [(0, []), (200, ["trial 0 is"]), (400, ["trials 0, 1, 3 are"])],
)
def test_what_is_no_better_than_the_base_alone_is_named(correct: int, words: list[str]) -> None:
    base = BaseScore(objective="sft", val_loss=1.0, validation=AnswerCount(correct, 400))
    found = remarks(search_of_six(), base)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_tasks_that_score_nothing_have_no_accuracy_to_remark_on() -> None:
    plain = trial(0)
    reports = tuple(dataclasses.replace(r, correct=0, scored=0) for r in plain.reports)
    assert remarks([dataclasses.replace(plain, reports=reports)]) == []


def test_why_there_is_no_front() -> None:
    pruned, failed = trial(0, outcome="pruned"), trial(1, outcome="failed")
    assert "(0 ended: 0 pruned, 0 failed); let it go on" in why_no_front([])
    assert "(1 ended: 1 pruned, 0 failed); let it go on" in why_no_front([pruned])
    assert why_no_front([pruned, failed]).endswith(": the loss is not finite at step 51")
    many = [dataclasses.replace(failed, number=i, error=f"reason {i}") for i in range(5)]
    assert why_no_front(many).endswith("reason 0; reason 1; reason 2; and 2 reasons more")
