"""The text that the built-in base is pretrained on: short documents of a few kinds.

A kind is one function from a random generator to a document; `MIXTURE` weighs them. Numbers
come with a few verbs (gets, loses, brings, takes); the verbs of the fine-tuning tasks occur without
numbers, so that the base knows them as words but not their arithmetic.
"""

from collections.abc import Callable, Iterator
from random import Random

from perft.synthetic.arithmetic import LARGEST, draw_numbers, solution, steps
from perft.synthetic.world import CREATURES, FOODS, FRUITS, PEOPLE, THINGS, TOOLS, TOYS

_PLANS = ("+", "-", "*", "++", "+-", "-+", "--", "*+", "*-")

# How a situation begins: with the plan's first number {x}, or with its whole first operation.
_STATES = (
    "{name} has {x} {things}.",
    "{name} has a box with {x} {things}.",
    "Here are {x} {things} for {name}.",
)
_OPENINGS = {
    "+": (
        "{name} gets {y} {things} for the {x} in the box.",
        "{name} has {x} {things} and {other} has {y}. Now they share.",
        "{x} {things} are here and {y} are there.",
        "{name} gets {x} {things}, and once {he} had {y}.",
        "{y} {things} come to the {x} that {name} has.",
    ),
    "-": (
        "{name} loses {y} of {x} {things}.",
        "{other} takes {y} {things}. {name} had {x} of them.",
        "{y} {things} are gone, and once {name} had {x}.",
        "{name} had {x} {things} and {y} are gone.",
        "Of the {x} {things} that {name} has, {y} go to {other}.",
    ),
    "*": (
        "{name} has {x} boxes with {y} {things} each.",
        "{name} has {x} rows of {y} {things}.",
        "In each of {x} boxes {name} has {y} {things}.",
        "{name} has {x} boxes. In each are {y} {things}.",
    ),
}
_EVENTS = {
    "+": (
        "{name} gets {n} more.",
        "Then {he} gets {n}.",
        "{other} brings {n} {things}.",
        "{n} more {things} go to {name}.",
    ),
    "-": (
        "{name} loses {n}.",
        "Then {he} loses {n} of them.",
        "{other} takes {n} {things}.",
        "{n} of {his} {things} go to {other}.",
    ),
}
_QUESTIONS = (
    "How many {things} has {name}?",
    "How many {things} is that?",
    "Say how many {things} {name} has.",
    "How many are there?",
)


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
    plan, numbers, names = _situation(rng)
    told = [_tell(rng.choice(_STATES), names, x=numbers[0])]
    for _, op, right, result in steps(plan, numbers):
        told.append(_tell(rng.choice(_EVENTS[op]), names, n=right))
        told.append(_tell("Now {name} has {r} {things}.", names, r=result))
    return " ".join(told)


def question(rng: Random) -> str:
    """A situation with a question, worked out: teaches to copy numbers into an equation."""
    plan, numbers, names = _situation(rng, "*")
    if plan[0] == "*" or rng.random() < 0.5:
        told = [_tell(rng.choice(_OPENINGS[plan[0]]), names, x=numbers[0], y=numbers[1])]
        events = list(zip(plan[1:], numbers[2:], strict=True))
    else:
        told = [_tell(rng.choice(_STATES), names, x=numbers[0])]
        events = list(zip(plan, numbers[1:], strict=True))
    told += [_tell(rng.choice(_EVENTS[op]), names, n=number) for op, number in events]
    if rng.random() < 0.3:
        told.insert(rng.randint(0, len(told)), scene(rng))
    told.append(_tell(rng.choice(_QUESTIONS), names))
    return f"Question: {' '.join(told)}\nAnswer: {solution(plan, numbers)[0]}"


def _situation(rng: Random, also: str = "") -> tuple[str, tuple[int, ...], dict[str, str]]:
    plan = rng.choice([plan for plan in _PLANS if plan[0] in "+-" + also])
    person, other = rng.sample(PEOPLE, k=2)
    names = {**person._asdict(), "other": other.name, "things": rng.choice(THINGS)}
    return plan, draw_numbers(plan, rng), names


def _tell(shape: str, names: dict[str, str], **numbers: int) -> str:
    return shape.format(**names, **numbers)


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
    "{name} owns {things}. What does {other} own at the end?",
    "{name} starts with {things}. Later {he} {buys} the same {things} from {other} before {day}.",
)


def scene(rng: Random) -> str:
    """Someone does something with things, without a number: the task's words, not its sums."""
    person, other = rng.sample(PEOPLE, k=2)
    edible = rng.random() < 0.5
    things = rng.choice(FOODS if edible else TOYS)
    return rng.choice(_SCENES).format(
        name=person.name,
        he=person.he,
        his=person.his,
        other=other.name,
        things=things,
        buys=rng.choice(("finds", "buys", "picks", "wins", "collects", "receives")),
        sells=rng.choice(("eats" if edible else "breaks", "sells", "gives away", "drops", "uses")),
        bag=rng.choice(("bag", "basket", "pack", "jar", "tin")),
        day=rng.choice(("Monday", "Tuesday", "Friday", "Sunday")),
    )


MIXTURE: dict[Callable[[Random], str], float] = {
    equation: 0.25,
    story: 0.15,
    question: 0.4,
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
