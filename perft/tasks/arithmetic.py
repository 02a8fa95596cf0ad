"""The six arithmetic benchmarks of LLM-Adapters (Hu et al. 2023).

A row of AddSub: the instruction "There are 7 crayons in the drawer . Mary took 3 crayons out of
the drawer . How many crayons are there now ?" with the answer "4" becomes the Alpaca prompt. The
base generates "A: There were 7 crayons. She took 3, so 7 - 3 = 4. The answer is 4."; the last
number, "4.", is within 0.001 of the label, so the example counts as right.

Invariant: a label that its rule can never match is refused when the file is read.

AQuA asks for an option, and its published rule takes the first capital A to E anywhere in the
text. That is noisy: a text that opens with "A: " counts as option A, whatever follows.
"""

import re
from collections.abc import Callable

from perft.tasks.benchmarks import Benchmark, Group, Labels
from perft.tasks.extraction import (
    first_option,
    is_number,
    is_option,
    labels_match,
    last_number,
    numbers_match,
)
from perft.tasks.hub import HubDataset, HubRow
from perft.tasks.prompts import TEMPLATE, alpaca, first_response
from perft.tasks.rows import DataRow
from perft.tasks.task import Example, Scorer

_MAX_NEW_TOKENS = 256
_NOTE = re.compile(r"<<[^>]*>>")


def _scorer(
    rule: str, extract: Callable[[str], str | None], matches: Callable[[str, str], bool]
) -> Scorer:
    return Scorer(
        protocol=f"LLM-Adapters, {rule}, prompt {TEMPLATE}, greedy, {_MAX_NEW_TOKENS} tokens",
        max_new_tokens=_MAX_NEW_TOKENS,
        extract=lambda text: extract(first_response(text)),
        matches=matches,
    )


_NUMBER = Labels("a number", is_number)
_OPTION = Labels("an option from A to E", is_option)
_NUMERIC = _scorer("last number", last_number, numbers_match)
_LETTER = _scorer("first option A-E", first_option, labels_match)


def _gsm8k(row: HubRow) -> dict[str, str]:
    """Drops <<calculator notes>> from the rationale; the label follows "####"."""
    rationale, answer = row["answer"].split("####")
    text = _NOTE.sub("", rationale).strip()
    return {
        "instruction": row["question"],
        "output": f"{text} The answer is {answer.strip()}.",
        "answer": answer.strip(),
    }


def _aqua(row: HubRow) -> dict[str, str]:
    """Options such as "A)23.65" become "(A) 23.65"."""
    options = " ".join(f"({option[0]}) {option[2:].strip()}" for option in row["options"])
    return {
        "instruction": f"{row['question']} Answer Choices: {options}",
        "output": f"{row['rationale']} The answer is ({row['correct']}).",
        "answer": row["correct"],
    }


_MULTIARITH = HubDataset(
    id="ChilleD/MultiArith",
    train=None,  # all 600 rows are the published test set
    test="train+test",
    convert=lambda row: {"instruction": row["question"], "answer": row["final_ans"]},
)
_GSM8K = HubDataset(id="openai/gsm8k", config="main", train="train", test="test", convert=_gsm8k)
_AQUA = HubDataset(
    id="deepmind/aqua_rat",
    config="raw",
    train="train[:7473]",  # no more than gsm8k has, of 97,467
    test="test",
    convert=_aqua,
)
_SVAMP = HubDataset(
    id="ChilleD/SVAMP",
    train=None,  # all 1,000 rows are the published test set
    test="train+test",
    convert=lambda row: {
        "instruction": f"{row['Body'].strip().rstrip('.')}. {row['Question']}",
        "answer": row["Answer"],
    },
)


def _example(row: DataRow, answer: str) -> Example:
    """Blank outputs, which a few published rows have, teach "The answer is <answer>."."""
    return Example(
        prompt=alpaca(row.required("instruction"), row.text("input")),
        completion=row.text("output") or f"The answer is {answer}.",
        answer=answer,
        where=row.where,
    )


GROUP = Group(
    name="arithmetic",
    mixtures=("math_50k", "math_10k", "math_data"),
    # The training files mix AQuA's options among the numbers.
    train_labels=Labels(
        "a number or an option from A to E", lambda label: is_number(label) or is_option(label)
    ),
    validation=Benchmark("validation", _NUMBER, _NUMERIC),
    benchmarks=(
        Benchmark("MultiArith", _NUMBER, _NUMERIC, _MULTIARITH),
        Benchmark("gsm8k", _NUMBER, _NUMERIC, _GSM8K),
        Benchmark("AddSub", _NUMBER, _NUMERIC),
        Benchmark("AQuA", _OPTION, _LETTER, _AQUA),
        Benchmark("SingleEq", _NUMBER, _NUMERIC),
        Benchmark("SVAMP", _NUMBER, _NUMERIC, _SVAMP),
    ),
    example=_example,
)
