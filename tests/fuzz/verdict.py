"""What may come of bad input: it is taken and works, or one error that says where and what."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perft.errors import PerftError, first_line
from perft.masking import masked

LONGEST = 3000
"""Characters of an error that can still be read."""


def refusal(read: Callable[[], Any]) -> str:
    """What an error says; empty when there is none. Anything but a `PerftError` is a defect."""
    try:
        read()
    except PerftError as error:
        text = str(error)
        assert "\n" not in text, f"more than one line: {text!r}"
        assert len(text) <= LONGEST, f"{len(text)} characters: {text[:200]!r}"
        assert all(c.isprintable() for c in text), f"not printable: {text!r}"
        assert masked(text) == text, f"a password is shown: {text!r}"
        return text
    return ""


class Verdicts:
    """Collects what is wrong over many cases, so that one run shows all of it."""

    def __init__(self) -> None:
        self.defects: list[str] = []
        self.taken = self.refused = 0

    def judge(self, what: str, read: Callable[[], Any], *names: str) -> None:
        """A case: `read` works, or refuses by a message that has all of `names`.

        A name "a|b" stands for either.
        """
        try:
            said = refusal(read)
        except Exception as error:
            self.defects.append(f"{what}\n    {type(error).__name__}: {first_line(error)[:300]}")
            return
        self.taken += not said
        self.refused += bool(said)
        missing = [
            name for name in names if said and not any(each in said for each in name.split("|"))
        ]
        if missing:
            self.defects.append(f"{what}\n    {' and '.join(missing)} not in: {said[:300]}")

    def conclude(self, *, least: int) -> None:
        """Fails with all that was found; at least so many cases must have been refused."""
        for defect in self.defects:
            print(defect)
        assert not self.defects, f"{len(self.defects)} defects, the first: {self.defects[0]}"
        assert self.refused >= least


@contextlib.contextmanager
def working(folder: Path) -> Any:
    """Inside, `PERFT_HOME` is a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFT_HOME", str(folder))
        yield
