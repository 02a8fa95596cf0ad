"""The built-in arithmetic task: word problems in verbs and sentences unseen in pretraining.

No number tuple and no sentence shape occurs in two splits: a hash assigns each tuple to a split,
and each pair of statement and question belongs to one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from perft.synthetic.arithmetic import draw_numbers, solution
from perft.synthetic.world import FOODS, PEOPLE, TOYS
from perft.tasks.builtin import builtin_task, split_of
from perft.tasks.extraction import last_number, numbers_match
from perft.tasks.task import Example, Scorer, Task

_SHAPE_CYCLE = ("train", "train", "train", "validation", "test")

SCORER = Scorer(
    protocol="perft built-in: greedy, last number of the completion, within 0.001 of the label",
    max_new_tokens=32,
    extract=last_number,
    matches=numbers_match,
)


@dataclass(frozen=True)
class ProblemKind:
    """Word problems of one arithmetic plan.

    Attributes:
        plan: the operations, such as "+-".
        statements: what happened; {x}, {y}, {z} are the plan's numbers, in the plan's order.
        questions: the questions, with the same names.
    """

    plan: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


_NOW = (
    "How many {things} does {name} have now?",
    "How many {things} does {name} have in all?",
    "What is the number of {things} that {name} has?",
    "How many {things} are there at the end?",
    "Count the {things} of {name} after that.",
)
_LEFT = (
    "How many {things} does {name} have left?",
    "How many {things} are left?",
    "What is the number of {things} that are left?",
    "How many {things} does {he} have at the end?",
    "Count the rest of the {things}.",
)
_BOTH = (
    "How many {things} do they have together?",
    "How many {things} do {name} and {other} have in all?",
    "What is the total number of {things}?",
    "How many {things} are there in all?",
    "Count all the {things} together.",
)
_MORE = (
    "How many more {things} does {name} have?",
    "How many more {things} than {other} does {name} have?",
    "How many {things} does {other} need to have the same number?",
    "What is the difference?",
    "By how many is {name} ahead of {other}?",
)
_TWO_PEOPLE = (
    "{name} {gains} {x} {things} and {other} {gains} {y}.",
    "{name} owns {x} {things}. {other} owns {y}.",
    "There are {x} {things} in the {bag} of {name} and {y} in the {bag} of {other}.",
    "{name} starts with {x} {things} and {other} starts with {y}.",
    "On {day} {name} {gains} {x} {things}. On {day2} {other} {gains} {y} {things}.",
)

KINDS = (
    ProblemKind(
        "+",
        (
            "{name} starts with {x} {things} and {gains} {y}.",
            "There are {x} {things} in the {bag}. {name} {gains} {y} of the same {things}.",
            "{name} {gains} {x} {things} on {day} and {y} on {day2}.",
            "{name} {gains} {x} {things}. Before that {he} had {y}.",
            "After {he} {gains} {x} {things}, {name} puts them with the first {y}.",
        ),
        _NOW,
    ),
    ProblemKind(
        "-",
        (
            "{name} starts with {x} {things} and {drops} {y}.",
            "There are {x} {things} in the {bag}. {name} {drops} {y} of them.",
            "On {day} {name} {drops} {y} of {his} {x} {things}.",
            "{name} {drops} {y} {things}. Before that {he} had {x}.",
            "From a {bag} of {x} {things} {name} {drops} {y}.",
        ),
        _LEFT,
    ),
    ProblemKind(
        "+",
        _TWO_PEOPLE,
        _BOTH,
    ),
    ProblemKind(
        "-",
        _TWO_PEOPLE,
        _MORE,
    ),
    ProblemKind(
        "*",
        (
            "{name} {gains} {x} {bag}s of {things}. Each {bag} holds {y}.",
            "There are {x} {bag}s on the table and each holds {y} {things}.",
            "Each of the {x} {bag}s that {name} owns holds {y} {things}.",
        ),
        _NOW,
    ),
    ProblemKind(
        "+-",
        (
            "{name} starts with {x} {things}, {gains} {y} and {drops} {z}.",
            "There are {x} {things} in the {bag}. {name} {gains} {y}. Later {he} {drops} {z}.",
            "{name} {gains} {x} {things} on {day} and {y} on {day2}. Then {he} {drops} {z}.",
        ),
        _LEFT,
    ),
    ProblemKind(
        "-+",
        (
            "{name} starts with {x} {things}, {drops} {y} and {gains} {z}.",
            "There are {x} {things} in the {bag}. {name} {drops} {y}. Later {he} {gains} {z}.",
            "{name} {drops} {y} of {his} {x} {things}. Then {he} {gains} {z}.",
        ),
        _NOW,
    ),
    ProblemKind(
        "*-",
        (
            "{name} {gains} {x} {bag}s of {things}. Each holds {y}. {name} {drops} {z} of them.",
            "Each of {x} {bag}s holds {y} {things}. Then {name} {drops} {z}.",
        ),
        _LEFT,
    ),
    ProblemKind(
        "*+",
        (
            "{name} {gains} {x} {bag}s of {things}. Each holds {y}. Later {he} {gains} {z}.",
            "Each of {x} {bag}s holds {y} {things}. Then {name} {gains} {z}.",
        ),
        _NOW,
    ),
)

GAINS = ("finds", "buys", "picks", "wins", "collects", "receives")
DROPS = ("sells", "gives away", "drops", "uses")
BAGS = ("bag", "basket", "pack", "jar", "tin")
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")


def arithmetic(validation_size: int, seed: int) -> Task:
    """The built-in arithmetic task, as `builtin_task` makes one."""
    return builtin_task("arithmetic", _examples, SCORER, validation_size, seed)


def shapes_of(split: str, kind: ProblemKind) -> list[tuple[str, str]]:
    """The pairs of statement and question of `kind` that only `split` uses."""
    return [
        (statement, question)
        for i, statement in enumerate(kind.statements)
        for j, question in enumerate(kind.questions)
        if _SHAPE_CYCLE[(i + j) % len(_SHAPE_CYCLE)] == split
    ]


def problems(split: str, rng: Random) -> Iterator[tuple[str, tuple[int, ...], Example]]:
    """Endless problems of a split, each after its plan and its numbers."""
    shapes = [(kind.plan, shapes_of(split, kind)) for kind in KINDS]
    while True:
        plan, pairs = rng.choice(shapes)
        numbers = draw_numbers(plan, rng)
        if split_of(numbers) == split:
            yield plan, numbers, _problem(plan, rng.choice(pairs), numbers, rng)


def _examples(split: str, rng: Random) -> Iterator[Example]:
    return (example for _, _, example in problems(split, rng))


def _problem(plan: str, shape: tuple[str, str], numbers: tuple[int, ...], rng: Random) -> Example:
    person, other = rng.sample(PEOPLE, k=2)
    edible = rng.random() < 0.5
    day, day2 = rng.sample(DAYS, k=2)
    text = " ".join(shape).format(
        **dict(zip("xyz", numbers, strict=False)),
        name=person.name,
        he=person.he,
        his=person.his,
        other=other.name,
        things=rng.choice(FOODS if edible else TOYS),
        gains=rng.choice(GAINS),
        drops=rng.choice((*DROPS, "eats" if edible else "breaks")),
        bag=rng.choice(BAGS),
        day=day,
        day2=day2,
    )
    worked, answer = solution(plan, numbers)
    return Example(f"Question: {text}\nAnswer:", f" {worked}", str(answer))
