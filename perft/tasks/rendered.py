"""What a base reads of an example, as text: which part it is trained on, and which only given."""

from dataclasses import dataclass

from perft.tasks.task import Example


@dataclass(frozen=True)
class Piece:
    """A part of an example's text.

    Attributes:
        text: as the tokenizer gets it.
        is_trained: whether its tokens carry loss.
    """

    text: str
    is_trained: bool


def rendered(example: Example) -> list[Piece]:
    """The text of an example in its pieces, in order; of a pair, with the preferred answer."""
    return [Piece(example.prompt, False), Piece(example.completion, True)]
