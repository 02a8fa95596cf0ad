"""The synthetic text: true equations, numbers in range, the same text from the same seed."""

import re
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.synthetic.arithmetic import LARGEST, draw_numbers, solution
from perft.synthetic.pretraining import MIXTURE, documents, fact, question, story
from perft.synthetic.world import CREATURES
from perft.tasks.word_problems import DROPS, GAINS

_EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)\.")


def test_solution_is_worked_step_by_step() -> None:
    assert solution("+-", (12, 5, 3)) == ("12 + 5 = 17. 17 - 3 = 14. The answer is 14.", 14)
    assert solution("*", (3, 4)) == ("3 * 4 = 12. The answer is 12.", 12)


@given(st.sampled_from(["+", "-", "*", "+-", "-+", "--", "*+", "*-"]), st.integers(0, 10**6))
def test_numbers_of_a_plan_keep_every_result_in_range(plan: str, seed: int) -> None:
    numbers = draw_numbers(plan, Random(seed))
    assert len(numbers) == len(plan) + 1
    text, _ = solution(plan, numbers)
    assert all(0 <= int(number) <= LARGEST for number in re.findall(r"-?\d+", text))


def test_every_equation_of_the_text_is_true() -> None:
    found = [match for text in islice(documents(0), 3000) for match in _EQUATION.findall(text)]
    assert len(found) > 2000
    for left, op, right, result in found:
        a, b = int(left), int(right)
        assert int(result) == {"+": a + b, "-": a - b, "*": a * b}[op]


def test_stories_end_in_the_state_that_their_numbers_give() -> None:
    rng = Random(0)
    for _ in range(500):
        numbers = [int(number) for number in re.findall(r"\d+", story(rng))]
        start, pairs = numbers[0], zip(numbers[1::2], numbers[2::2], strict=True)
        for change, state in pairs:
            assert state in (start + change, start - change)
            start = state


def test_numbers_are_never_told_in_the_task_s_verbs() -> None:
    rng = Random(0)
    verbs = re.compile(rf"\b({'|'.join((*GAINS, *DROPS))}) \d")
    assert not any(verbs.search(question(rng)) or verbs.search(story(rng)) for _ in range(2000))


def test_facts_agree_with_the_tables() -> None:
    food = {creature.name: creature.food for creature in CREATURES}
    rng = Random(0)
    told = [match for _ in range(500) for match in re.findall(r"The (\w+) eats (\w+)\.", fact(rng))]
    assert {name for name, _ in told} == set(food)
    assert all(food[name] == eaten for name, eaten in told)


@pytest.mark.parametrize("seed", [0, 7])
def test_same_seed_same_text(seed: int) -> None:
    assert list(islice(documents(seed), 200)) == list(islice(documents(seed), 200))
    assert list(islice(documents(seed), 200)) != list(islice(documents(seed + 1), 200))


def test_mixture_is_a_distribution() -> None:
    assert sum(MIXTURE.values()) == pytest.approx(1.0)
