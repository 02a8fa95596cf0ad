"""Whole-number arithmetic as text: "12 + 5 = 17. 17 - 3 = 14. The answer is 14.".

A plan such as "+-" applied to the numbers (12, 5, 3) means 12 + 5, then - 3. Every number that
`draw_numbers` leads to lies in 0..99.
"""

from collections.abc import Iterator
from random import Random

LARGEST = 99
_SECOND_OPERAND = 30
_START = 50
_FACTOR = 9


def draw_numbers(plan: str, rng: Random) -> tuple[int, ...]:
    """Numbers for `plan`, one more than it has operations, that keep all results in 0..99."""
    while True:
        first_is_factor = plan[0] == "*"
        numbers = [rng.randint(2, _FACTOR if first_is_factor else _START)]
        numbers += [rng.randint(2, _FACTOR if op == "*" else _SECOND_OPERAND) for op in plan]
        if all(0 <= result <= LARGEST for _, _, _, result in steps(plan, numbers)):
            return tuple(numbers)


def steps(plan: str, numbers: tuple[int, ...] | list[int]) -> Iterator[tuple[int, str, int, int]]:
    """Each operation of `plan` as (left, operator, right, result)."""
    left = numbers[0]
    for op, right in zip(plan, numbers[1:], strict=True):
        result = {"+": left + right, "-": left - right, "*": left * right}[op]
        yield left, op, right, result
        left = result


def solution(plan: str, numbers: tuple[int, ...]) -> tuple[str, int]:
    """The worked solution as text, and the answer it ends in."""
    worked = list(steps(plan, numbers))
    answer = worked[-1][-1]
    equations = " ".join(f"{a} {op} {b} = {c}." for a, op, b, c in worked)
    return f"{equations} The answer is {answer}.", answer
