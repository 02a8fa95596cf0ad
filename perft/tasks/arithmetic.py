"""The six arithmetic benchmarks of LLM-Adapters (Hu et al. 2023), on real data.

A row of AddSub: the instruction "There are 7 crayons in the drawer . Mary took 3 crayons out of
the drawer . How many crayons are there now ?" with the answer "4" becomes the Alpaca prompt. The
base generates "A: There were 7 crayons. She took 3, so 7 - 3 = 4. The answer is 4."; the last
number, "4.", is within 0.001 of the label, so the example counts as right.

Invariant: a label that its rule could never match is refused when the file is read.

AQuA asks for an option, and its published rule takes the first capital A to E anywhere in the
text. That is noisy: a text that opens with "A: " counts as option A, whatever follows.
"""

from collections.abc import Callable

from perft.tasks.extraction import (
    first_option,
    is_number,
    is_option,
    last_number,
    numbers_match,
    options_match,
)
from perft.tasks.llm_adapters import Benchmark, Group, Labels
from perft.tasks.prompts import TEMPLATE, first_response
from perft.tasks.task import Scorer

_MAX_NEW_TOKENS = 256


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
_LETTER = _scorer("first option A-E", first_option, options_match)

GROUP = Group(
    name="arithmetic",
    train_names=("math_50k", "math_10k", "math_data"),
    # The training files mix AQuA's options among the numbers.
    train_labels=Labels(
        "a number or an option from A to E", lambda label: is_number(label) or is_option(label)
    ),
    validation=Benchmark("validation", _NUMBER, _NUMERIC),
    benchmarks=(
        Benchmark("MultiArith", _NUMBER, _NUMERIC),
        Benchmark("gsm8k", _NUMBER, _NUMERIC),
        Benchmark("AddSub", _NUMBER, _NUMERIC),
        Benchmark("AQuA", _OPTION, _LETTER),
        Benchmark("SingleEq", _NUMBER, _NUMERIC),
        Benchmark("SVAMP", _NUMBER, _NUMERIC),
    ),
)
