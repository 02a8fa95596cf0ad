"""Overlap of test and training data: what is counted, and that a template is not."""

import pytest

from perft.tasks import Example, Overlap, Scorer, Split, Task, overlap

SCORER = Scorer("rules", 4, str, str.__eq__)
TEMPLATE = "Below is an instruction that describes a task write a good answer : {} Response :"
LONG = "seven ships sail over the wide sea before the cold winter comes to stay"


def task(train: list[str], test: list[str], template: str = TEMPLATE) -> Task:
    def split(name: str, texts: list[str]) -> Split:
        return Split(name, tuple(Example(template.format(t), "x", "x") for t in texts), SCORER)

    half = len(train) // 2
    return Task(
        "t", split("train", train[:half]), split("validation", train[half:]), (split("a", test),)
    )


def of(train: list[str], test: list[str]) -> Overlap:
    return overlap(task(train, test))["a"]


def test_same_prompts_but_for_case_and_space() -> None:
    found = of(["One  two THREE", "four"], ["one two three", "four", "five"])
    assert found == Overlap(same=2, seen=2, examples=3)


def test_a_prompt_with_one_word_changed_at_its_end_is_seen() -> None:
    assert of([LONG, "x"], [LONG + " away", "other"]) == Overlap(same=0, seen=1, examples=2)


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("wide", "calm"),  # an n-gram in which the word stands is another one
        "three boats cross the bay",
        "seven ships sail",
        " ".join(LONG.split()[::-1]),
    ],
)
def test_other_prompts_are_not_seen(text: str) -> None:
    assert of([LONG, "y z"], [text, "w"]) == Overlap(same=0, seen=0, examples=2)


def test_the_template_alone_is_no_overlap() -> None:
    longest = "Please write all of this down in one long line of text before the question : {} !"
    parts = task([f"a{i}" for i in range(6)], [f"b{i}" for i in range(6)], longest)
    assert overlap(parts) == {"a": Overlap(same=0, seen=0, examples=6)}


def test_words_of_two_training_prompts_may_make_up_one() -> None:
    words = [f"w{i}" for i in range(24)]
    halves = [" ".join(words[:16]), " ".join(words[8:])]
    assert of(halves, [" ".join(words), "x"]).seen == 1
