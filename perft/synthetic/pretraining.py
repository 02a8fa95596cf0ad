"""The text that the embedded base is pretrained on: short documents of a few kinds.

A kind is one function from a random generator to a document; `MIXTURE` weighs them. Numbers are
told in two verbs only (gets, loses) and few sentence shapes; the verbs of the fine-tuning tasks
occur without numbers, so that they are known words of unknown arithmetic.
"""

from collections.abc import Callable, Iterator
from random import Random

from perft.synthetic.arithmetic import LARGEST, draw_numbers, solution, steps
from perft.synthetic.world import (
    CREATURES,
    FOODS,
    FRUITS,
    PEOPLE,
    THINGS,
    TOOLS,
    TOYS,
)

_PLANS = ("+", "-", "*", "++", "+-", "-+", "--", "*+", "*-")
_EVENTS = {"+": "{name} gets {number} more.", "-": "{name} loses {number}."}


def equation(rng: Random) -> str:
    """One bare equation."""
    op = rng.choice("+-*")
    if op == "*":
        left, right = rng.randint(2, 9), rng.randint(2, 9)
    else:
        left, right = rng.randint(1, LARGEST), rng.randint(1, 40)
        if op == "+" and left + right > LARGEST:
            left = rng.randint(0, LARGEST - right)
        elif op == "-" and left < right:
            left = rng.randint(right, LARGEST)
    ((_, _, _, result),) = steps(op, (left, right))
    return f"{left} {op} {right} = {result}."


def story(rng: Random) -> str:
    """Someone has, gets and loses things; every event is followed by the new state."""
    name, things, plan, numbers = _situation(rng)
    told = [_opening(name, things, plan, numbers)]
    for position, (_, op, right, result) in enumerate(steps(plan, numbers)):
        if position or op != "*":
            told.append(_EVENTS[op].format(name=name, number=right))
        told.append(f"Now {name} has {result} {things}.")
    return " ".join(told)


def question(rng: Random) -> str:
    """A story with a question, worked out: what teaches to copy numbers into an equation."""
    name, things, plan, numbers = _situation(rng)
    told = [_opening(name, things, plan, numbers)]
    for position, (_, op, right, _) in enumerate(steps(plan, numbers)):
        if position or op != "*":
            told.append(_EVENTS[op].format(name=name, number=right))
    told.append(f"How many {things} has {name}?\n{solution(plan, numbers)[0]}")
    return " ".join(told)


def _situation(rng: Random) -> tuple[str, str, str, tuple[int, ...]]:
    plan = rng.choice(_PLANS)
    return rng.choice(PEOPLE).name, rng.choice(THINGS), plan, draw_numbers(plan, rng)


def _opening(name: str, things: str, plan: str, numbers: tuple[int, ...]) -> str:
    if plan[0] == "*":
        return f"{name} has {numbers[0]} boxes with {numbers[1]} {things} each."
    return f"{name} has {numbers[0]} {things}."


def fact(rng: Random) -> str:
    """Two or three true sentences about one row of the world's tables."""
    creature, fruit, tool = rng.choice(CREATURES), rng.choice(FRUITS), rng.choice(TOOLS)
    sentences = rng.choice(
        (
            [
                f"The {creature.name} eats {creature.food}.",
                f"The {creature.name} lives in the {creature.home}.",
                f"The {creature.name} is {creature.colour}.",
            ],
            [
                f"The {fruit.name} grows on the {fruit.place}.",
                f"The {fruit.name} is {fruit.colour}.",
                f"The {fruit.name} tastes {fruit.taste}.",
            ],
            [
                f"The {tool.name} is used to {tool.purpose}.",
                f"The {tool.name} is kept in the {tool.place}.",
            ],
        )
    )
    return " ".join(rng.sample(sentences, k=2))


_SCENES = (
    "{name} {buys} {things} and puts them in a {bag}.",
    "On {day} {name} {buys} {things}. Then {he} {sells} them.",
    "{name} {sells} {things} to {other}. {other} {buys} them on {day}.",
    "There are {things} in the {bag}. Each {bag} holds {things}.",
    "{name} and {other} have {things} together. Are there any left in all?",
    "{name} had {things} at first. After that {he} {sells} the rest of {his} {things}.",
    "Each of the {bag}s on the table holds {things}. {other} {buys} another {bag} of {things}.",
    "Count the {things}. What is the total number of {things} now? {name} {sells} some of them.",
    "Question: What does {name} own at the end?\nAnswer: {name} owns {things} and {things2}.",
    "{name} starts with {things}. Later {he} {buys} the same {things} from {other} before {day}.",
)


def scene(rng: Random) -> str:
    """Someone does something with things, without a number: the task's words, not its sums."""
    person, other = rng.sample(PEOPLE, k=2)
    edible = rng.random() < 0.5
    things, things2 = rng.sample(FOODS if edible else TOYS, k=2)
    return rng.choice(_SCENES).format(
        name=person.name,
        he=person.he,
        his=person.his,
        other=other.name,
        things=things,
        things2=things2,
        buys=rng.choice(("finds", "buys", "picks", "wins", "collects", "receives")),
        sells=rng.choice(("eats" if edible else "breaks", "sells", "gives away", "drops", "uses")),
        bag=rng.choice(("bag", "basket", "pack", "jar", "tin")),
        day=rng.choice(("Monday", "Tuesday", "Friday", "Sunday")),
    )


MIXTURE: dict[Callable[[Random], str], float] = {
    equation: 0.3,
    story: 0.25,
    question: 0.25,
    fact: 0.1,
    scene: 0.1,
}


def documents(seed: int) -> Iterator[str]:
    """Endless documents drawn from `MIXTURE`; the same seed gives the same ones."""
    rng = Random(seed)
    kinds, weights = list(MIXTURE), list(MIXTURE.values())
    while True:
        (kind,) = rng.choices(kinds, weights)
        yield kind(rng)
