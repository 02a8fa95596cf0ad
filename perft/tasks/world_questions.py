"""The built-in commonsense task: questions about the facts that the base was pretrained on.

One example: "Question: Choose: the cat eats grass, fish, honey or mice?" is answered by "The cat
eats fish. The answer is fish." The base has read every fact in pretraining, but no question, option
or "yes or no": an adapter learns to recall facts and to compare them.

No sentence shape occurs in two splits, nor does a question about the same things: a hash assigns
each combination of subject and options to a split. All splits share the facts, as in the
commonsense benchmarks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from perft.synthetic.world import CREATURES, FRUITS, TOOLS
from perft.tasks.builtin import builtin_task, split_of
from perft.tasks.task import Example, Scorer, Task

OPTIONS = 4


@dataclass(frozen=True)
class Relation:
    """One fact about every member of a table.

    Attributes:
        verb: makes a sentence of pretraining between a subject and a value.
        facts: value by subject.
    """

    verb: str
    facts: dict[str, str]

    def say(self, subject: str, value: str) -> str:
        """The sentence, without its full stop."""
        return f"the {subject} {self.verb} {value}"


RELATIONS = (
    Relation("eats", {each.name: each.food for each in CREATURES}),
    Relation("lives in the", {each.name: each.home for each in CREATURES}),
    Relation("is", {each.name: each.colour for each in (*CREATURES, *FRUITS)}),
    Relation("grows on the", {each.name: each.place for each in FRUITS}),
    Relation("tastes", {each.name: each.taste for each in FRUITS}),
    Relation("is used to", {each.name: each.purpose for each in TOOLS}),
    Relation("is kept in the", {each.name: each.place for each in TOOLS}),
)

# Forms of questions: {c} is the content, {a} and {b} are subjects, {v} is their verb.
_CHOICES = {
    "train": (
        "{c}",
        "Choose: {c}",
        "Say what is right: {c}",
        "Which of these is it: {c}",
        "Look at the words and say it: {c}",
    ),
    "validation": ("Answer this: {c}", "Take one: {c}"),
    "test": ("What is it: {c}", "Say the right one: {c}"),
}
_TRUTHS = {
    "train": (
        "Is this true: {c}",
        "True or not: {c}",
        "Say yes or no: {c}",
        "{c}, yes or no",
        "Is it so that {c}",
    ),
    "validation": ("Answer yes or no: {c}", "Is it right that {c}"),
    "test": ("Yes or no: {c}", "Is it true that {c}"),
}
_COMPARISONS = {
    "train": (
        "The {a} {v} it and the {b} {v} it, is it the same",
        "Of the {a} and the {b}: each {v} the same, yes or no",
        "Say if the {a} {v} the same that the {b} {v}",
    ),
    "validation": ("Is it the same that the {a} {v} and the {b} {v}",),
    "test": ("The {a} and the {b}, each {v} it: is it the same",),
}


def answer_of(text: str) -> str | None:
    """The text between the last "The answer is " and the next full stop."""
    _, found, rest = text.rpartition("The answer is ")
    answer, stop, _ = rest.partition(".")
    return answer if found and stop else None


SCORER = Scorer(
    protocol="perft built-in: greedy, the answer that the completion states, letter by letter",
    max_new_tokens=32,
    extract=answer_of,
    matches=lambda found, label: found == label,
)


def commonsense(validation_size: int, seed: int) -> Task:
    """The built-in commonsense task, as `builtin_task` makes one."""
    return builtin_task("commonsense", _questions, SCORER, validation_size, seed)


def _questions(split: str, rng: Random) -> Iterator[Example]:
    facts = [(relation, subject) for relation in RELATIONS for subject in relation.facts]
    kinds: dict[Callable[..., Example | None], float] = {_choice: 0.5, _truth: 0.3, _compare: 0.2}
    while True:
        (kind,) = rng.choices(list(kinds), list(kinds.values()))
        example = kind(*rng.choice(facts), split, rng)
        if example is not None:
            yield example


def _choice(relation: Relation, subject: str, split: str, rng: Random) -> Example | None:
    value = relation.facts[subject]
    others = sorted(set(relation.facts.values()) - {value})
    options = [value, *rng.sample(others, min(OPTIONS - 1, len(others)))]
    if split_of([subject, *options]) != split:
        return None
    rng.shuffle(options)
    asked = relation.say(subject, f"{', '.join(options[:-1])} or {options[-1]}")
    return _example(rng.choice(_CHOICES[split]).format(c=asked), relation, [subject], value)


def _truth(relation: Relation, subject: str, split: str, rng: Random) -> Example | None:
    value = relation.facts[subject]
    wrong = rng.choice(sorted(set(relation.facts.values()) - {value}))
    if split_of([subject, value, wrong]) != split:
        return None
    said, denied = rng.sample((value, wrong), k=2)
    asked = rng.choice(_TRUTHS[split]).format(c=f"{relation.say(subject, said)} and not {denied}")
    return _example(asked, relation, [subject], _yes_or_no(said == value))


def _compare(relation: Relation, subject: str, split: str, rng: Random) -> Example | None:
    if " " in relation.verb:  # "it is used to it" would be no sentence
        return None
    value, same = relation.facts[subject], rng.random() < 0.5
    others = [s for s, v in relation.facts.items() if s != subject and (v == value) == same]
    other = rng.choice(others) if others else subject
    if not others or split_of([relation.verb, subject, other]) != split:
        return None
    asked = rng.choice(_COMPARISONS[split]).format(a=subject, b=other, v=relation.verb)
    return _example(asked, relation, [subject, other], _yes_or_no(same))


def _yes_or_no(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _example(question: str, relation: Relation, subjects: list[str], answer: str) -> Example:
    known = "".join(f" {_sentence(relation.say(s, relation.facts[s]))}." for s in subjects)
    prompt = f"Question: {_sentence(question)}?\nAnswer:"
    return Example(prompt, f"{known} The answer is {answer}.", answer)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
