"""The people, things and facts of the invented world.

Plain tables, the only place where facts are written down: text about the world and questions
about it read the same rows, so they cannot disagree.
"""

from typing import NamedTuple


class Person(NamedTuple):
    """Someone a story is about: a first name with its pronouns, subject and possessive."""

    name: str
    he: str
    his: str


class Creature(NamedTuple):
    """An animal: what it eats, where it lives, its colour."""

    name: str
    food: str
    home: str
    colour: str


class Fruit(NamedTuple):
    """Something that grows: where, its colour and its taste."""

    name: str
    place: str
    colour: str
    taste: str


class Tool(NamedTuple):
    """Something made: what it is for and where it is kept."""

    name: str
    purpose: str
    place: str


PEOPLE = (
    *(Person(name, "he", "his") for name in ("Tom", "Ben", "Sam", "Max", "Leo", "Jack", "Omar")),
    *(Person(name, "she", "her") for name in ("Ann", "Mia", "Eva", "Zoe", "Lucy", "Nina", "Rosa")),
)

FOODS = ("apples", "plums", "pears", "nuts", "cakes", "eggs", "buns", "cherries")
TOYS = ("coins", "books", "shells", "stones", "marbles", "pens", "cards", "stamps", "cups", "balls")
THINGS = FOODS + TOYS

CREATURES = (
    Creature("cat", "fish", "house", "grey"),
    Creature("dog", "meat", "garden", "brown"),
    Creature("cow", "grass", "field", "white"),
    Creature("hen", "corn", "barn", "red"),
    Creature("owl", "mice", "forest", "brown"),
    Creature("fox", "hens", "forest", "red"),
    Creature("bear", "honey", "cave", "black"),
    Creature("bat", "flies", "cave", "black"),
    Creature("frog", "flies", "lake", "green"),
    Creature("duck", "bread", "lake", "white"),
    Creature("goat", "leaves", "hills", "grey"),
    Creature("horse", "hay", "barn", "brown"),
    Creature("mouse", "cheese", "house", "grey"),
    Creature("rabbit", "carrots", "field", "white"),
    Creature("seal", "fish", "sea", "black"),
    Creature("snail", "leaves", "garden", "yellow"),
)

FRUITS = (
    Fruit("apple", "tree", "red", "sweet"),
    Fruit("plum", "tree", "blue", "sweet"),
    Fruit("lemon", "tree", "yellow", "sour"),
    Fruit("carrot", "ground", "orange", "sweet"),
    Fruit("onion", "ground", "white", "sharp"),
    Fruit("potato", "ground", "brown", "plain"),
    Fruit("grape", "vine", "green", "sweet"),
    Fruit("pepper", "bush", "red", "sharp"),
    Fruit("currant", "bush", "black", "sour"),
)

TOOLS = (
    Tool("hammer", "hit nails", "shed"),
    Tool("saw", "cut wood", "shed"),
    Tool("knife", "cut bread", "kitchen"),
    Tool("pot", "cook soup", "kitchen"),
    Tool("broom", "sweep the floor", "kitchen"),
    Tool("spade", "dig holes", "garden"),
    Tool("pen", "write letters", "desk"),
    Tool("brush", "paint walls", "shed"),
    Tool("lamp", "read at night", "desk"),
    Tool("key", "open doors", "pocket"),
)
