"""Text from tokens as they come: whole characters, stop texts, the pieces together the whole."""

from collections.abc import Iterable

import pytest

from perft.serving.text import TextStream
from tasks.byte_tokenizer import PLAIN


def pieces(text: str, stops: Iterable[str] = ()) -> tuple[list[str], bool]:
    stream, found = TextStream(PLAIN, tuple(stops)), []
    for token in PLAIN(text)["input_ids"]:
        found.append(stream.add(token))
        if stream.stopped:
            return found, True
    return [*found, stream.finish()], False


def test_pieces_are_whole_characters() -> None:
    text = "naïve 日本 🙂!"
    found, stopped = pieces(text)
    assert not stopped
    assert "".join(found) == text
    assert "\ufffd" not in "".join(found)
    assert all(piece in text for piece in found)


@pytest.mark.parametrize(
    ("text", "stops", "kept", "stopped"),
    [
        ("one. two. three", ["two"], "one. ", True),
        ("one. two. three", ["three", "two"], "one. ", True),
        ("aab", ["ab"], "a", True),
        ("a\n\nb", ["\n\n"], "a", True),
        ("almost en", ["end"], "almost en", False),
        ("ééé stop", [" stop"], "ééé", True),
        ("stop", ["stop"], "", True),
    ],
)
def test_a_stop_text_is_never_sent(text: str, stops: list[str], kept: str, stopped: bool) -> None:
    found, has_stopped = pieces(text, stops)
    assert ("".join(found), has_stopped) == (kept, stopped)
