"""The published extraction rules, against worked cases and their stated properties."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft.tasks.extraction import (
    first_choice,
    first_option,
    is_number,
    is_option,
    labels_match,
    last_number,
    numbers_match,
)

numbers = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False).map(lambda x: f"{x:.4f}")
plain = st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters=",.-"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A: 7 - 3 = 4 crayons. The answer is 4.", "4."),
        ("The answer is 1,200.50 dollars", "1200.50"),
        ("it fell to -3", "-3"),
        ("5-3", "-3"),  # upstream reads a minus sign here too
        ("half, .5", "5"),
        ("1.2.3", "3"),
        ("16 October 12", "12"),
        ("none at all", None),
        ("", None),
    ],
)
def test_last_number(text: str, found: str | None) -> None:
    assert last_number(text) == found


@given(before=st.text(), value=numbers, after=plain)
def test_last_number_ignores_what_stands_before(before: str, value: str, after: str) -> None:
    assert last_number(f"{before} {value}{after}") == value


@given(value=st.integers(-(10**12), 10**12))
def test_commas_do_not_matter(value: int) -> None:
    assert last_number(f"so {value:,} in all") == str(value)
    assert numbers_match(str(value), f"{value:,}")


@given(text=st.text())
def test_last_number_is_absent_or_a_number(text: str) -> None:
    found = last_number(text)
    assert (found is None) == (re.search(r"\d", text) is None)
    assert found is None or isinstance(float(found), float)


@pytest.mark.parametrize(
    ("extracted", "label", "right"),
    [
        ("4.", "4", True),
        ("576", "576.0", True),
        ("0.667", "0.6666666666666666", True),
        ("0.67", "0.6666666666666666", False),
        ("10.0009", "10", True),
        ("10.0011", "10", False),
        ("-4", "4", False),
        ("1000", "1,000", True),
        ("4", "A", False),
        ("9" * 400, "9", False),
    ],
)
def test_numbers_match(extracted: str, label: str, right: bool) -> None:
    assert numbers_match(extracted, label) is right


@given(value=numbers, shift=st.floats(0.0011, 1e6))
def test_numbers_further_apart_than_the_tolerance_never_match(value: str, shift: float) -> None:
    assert numbers_match(value, value)
    assert not numbers_match(repr(float(value) + shift), value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the answer is (D).", "D"),
        ("A: the answer is (D).", "A"),
        ("Because", "B"),
        ("the answer is d", None),
        ("F", None),
        ("", None),
    ],
)
def test_first_option(text: str, found: str | None) -> None:
    assert first_option(text) == found


@given(text=st.text())
def test_first_option_is_the_first_of_upstreams_matches(text: str) -> None:
    assert first_option(text) == next(iter(re.findall(r"A|B|C|D|E", text.strip())), None)


@given(text=st.text())
def test_an_option_is_its_own_label(text: str) -> None:
    found = first_option(text)
    assert found is None or (is_option(found) and labels_match(found, found))
    assert not labels_match("A", "B")


CHOICES = {
    "boolq": ("true", "false"),
    "piqa": ("solution1", "solution2"),
    "winogrande": ("option1", "option2"),
    "hellaswag": tuple(f"ending{i}" for i in range(1, 5)),
    "others": tuple(f"answer{i}" for i in range(1, 6)),
}
UPSTREAM = {  # the expressions of the published evaluation
    "boolq": r"true|false",
    "piqa": r"solution1|solution2",
    "winogrande": r"option1|option2",
    "hellaswag": r"ending1|ending2|ending3|ending4",
    "others": r"answer1|answer2|answer3|answer4|answer5",
}


@pytest.mark.parametrize("task", CHOICES)
@given(data=st.data())
def test_first_choice_is_the_first_of_upstreams_matches(task: str, data: st.DataObject) -> None:
    pieces = st.one_of(st.text(), st.sampled_from([*CHOICES[task], "True", "answer", "6"]))
    text = "".join(data.draw(st.lists(pieces, max_size=6)))
    found = first_choice(CHOICES[task])(text)
    assert found == next(iter(re.findall(UPSTREAM[task], text.strip())), None)
    assert found is None or labels_match(found, found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" true", "true"),
        ("the answer is False, not true", "true"),  # case counts
        ("untrue", "true"),
        ("falsetrue", "false"),
        ("TRUE", None),
        ("", None),
    ],
)
def test_first_choice_by_hand(text: str, found: str | None) -> None:
    assert first_choice(("true", "false"))(text) == found


@pytest.mark.parametrize("label", ["4", "-4.5", "1,200", "1e3", "0.6666666666666666"])
def test_number_labels(label: str) -> None:
    assert is_number(label)


@pytest.mark.parametrize("label", ["", "four", "A", "nan", "inf", "1/2", "4 5"])
def test_labels_that_are_no_number(label: str) -> None:
    assert not is_number(label)


@pytest.mark.parametrize("label", ["", "F", "a", "AB", "(A)"])
def test_labels_that_are_no_option(label: str) -> None:
    assert not is_option(label)
