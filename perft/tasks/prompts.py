"""The prompt around an instruction.

Invariant: training and evaluation use the same template, byte for byte. (The upstream code indents
the sections by 16 spaces and differs in whitespace between the two.)
"""

TEMPLATE = "alpaca"
"""Name of the template, recorded in every protocol."""

_MARK = "### Response:"
_SENTENCE = "Below is an instruction that describes a task"
_REQUEST = "Write a response that appropriately completes the request."
_WITH_INPUT = "paired with an input that provides further context"


def alpaca(instruction: str, context: str = "") -> str:
    """The Alpaca prompt, up to and including the line break after "### Response:".

    Args:
        instruction: the request; surrounding whitespace is dropped.
        context: the row's `input`; when blank, the form without an input section is used.
    """
    instruction, context = instruction.strip(), context.strip()
    if not context:
        return f"{_SENTENCE}. {_REQUEST}\n\n### Instruction:\n{instruction}\n\n{_MARK}\n"
    return (
        f"{_SENTENCE}, {_WITH_INPUT}. {_REQUEST}\n\n"
        f"### Instruction:\n{instruction}\n\n### Input:\n{context}\n\n{_MARK}\n"
    )


def first_response(text: str) -> str:
    """The part of a generated text before any further response section.

    A base may go on to write another "### Response:", which is ignored, as upstream does.
    """
    return text.partition(_MARK)[0]
