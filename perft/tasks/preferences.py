"""The built-in task of preferences: of two worked solutions the one that fits the word problem.

One example: to "Ann starts with 12 pens and sells 5. How many pens are left?" the answer "12 - 5 =
7. The answer is 7." is preferred to "12 + 5 = 17. The answer is 17." Both calculate rightly and
look alike; only one does what the problem says. The problems are those of `word_problems`, in verbs
that pretraining told no numbers in: the base finds either as likely.

No number tuple and no sentence shape occurs in two splits, as there.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from perft.synthetic.arithmetic import LARGEST, solution, steps
from perft.tasks.builtin import builtin_task
from perft.tasks.scoring import PREFERENCE
from perft.tasks.task import Example, Task
from perft.tasks.word_problems import KINDS, problems


def preferences(validation_size: int, seed: int) -> Task:
    """The built-in task of preferences, as `builtin_task` makes one."""
    return builtin_task("preferences", _pairs, PREFERENCE, validation_size, seed)


def _pairs(split: str, rng: Random) -> Iterator[Example]:
    for plan, numbers, example in problems(split, rng):
        if others := _other_plans(plan, numbers):
            rejected, _ = solution(rng.choice(others), numbers)
            yield replace(example, answer=example.completion.strip(), rejected=f" {rejected}")


def _other_plans(plan: str, numbers: tuple[int, ...]) -> list[str]:
    """The plans of other problems that the same numbers could be of."""
    plans = dict.fromkeys(kind.plan for kind in KINDS if len(kind.plan) == len(plan))
    return [
        other
        for other in plans
        if other != plan and all(0 <= result <= LARGEST for *_, result in steps(other, numbers))
    ]
