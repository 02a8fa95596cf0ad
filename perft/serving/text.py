"""Text from tokens, as they come."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are no whole character yet."""


class TextStream:
    """The text of one row, piece by piece.

    Invariant: the pieces together are the text of all tokens, without special tokens, up to the
    first stop text.

    Args:
        tokenizer: the base's.
        stops: texts that end the row; they are not part of its text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._ids: list[int] = []
        self._sent = 0
        self.stopped = False

    def add(self, token: int) -> str:
        """Adds a token and returns the next piece, which may be empty."""
        self._ids.append(token)
        text = self._text()
        found = [text.find(stop) for stop in self._stops if stop in text]
        if found:
            self.stopped = True
            return self._upto(text[: min(found)])
        return self._upto(text[: len(text) - self._unsure(text)])

    def finish(self) -> str:
        """The rest of the text, when no token follows."""
        return self._upto(self._text())

    def _text(self) -> str:
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        assert isinstance(text, str)
        return text

    def _upto(self, text: str) -> str:
        piece = text[self._sent :]
        self._sent = max(self._sent, len(text))
        return piece

    def _unsure(self, text: str) -> int:
        """Characters at the end that may become another one, or the beginning of a stop text."""
        unsure = len(text) - len(text.rstrip(_INCOMPLETE))
        for stop in self._stops:
            begun = [n for n in range(1, len(stop)) if text.endswith(stop[:n])]
            unsure = max(unsure, *begun, 0)
        return unsure
