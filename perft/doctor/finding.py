"""What one probe tells: a state, what was found, and what to do."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from perft.errors import printable
from perft.masking import masked

State = Literal["ok", "warning", "missing"]
"""`warning`: works, but not everything or not as well. `missing`: a search will be refused."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        name: what was looked at, such as "disk".
        state: how it is.
        found: what was found, one line without passwords and keys.
        advice: what to do; empty if it is ok.
    """

    name: str
    state: State
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        assert (self.state == "ok") == (not self.advice), self
        for field in ("found", "advice"):
            object.__setattr__(self, field, masked(printable(getattr(self, field))))

    def to_json(self) -> dict[str, str]:
        """The attributes by name."""
        return dataclasses.asdict(self)


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", found)


def warning(name: str, found: str, advice: str) -> Finding:
    """Works, but not everything or not as well."""
    return Finding(name, "warning", found, advice)


def missing(name: str, found: str, advice: str) -> Finding:
    """A search will be refused, or fail."""
    return Finding(name, "missing", found, advice)
