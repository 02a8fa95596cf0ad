"""A limit on activated parameters, as a user writes it: "0.1%" of the base, or a number.

A limit is positive and finite.
"""

import math
from dataclasses import dataclass

from perft.errors import ConfigError
from perft.trial import AdapterSize


@dataclass(frozen=True)
class ActivatedLimit:
    """The most parameters that one token may use in an adapter.

    Attributes:
        value: percent of the base's activated parameters, or a number of parameters.
        percent: which of the two `value` is.
    """

    value: float
    percent: bool

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise ConfigError(f"a limit on activated parameters must be positive, found {self}")

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.percent else f"{self.value:,.0f} parameters"

    @classmethod
    def parse(cls, text: str) -> "ActivatedLimit":
        """Reads "0.1%" (of the base's activated parameters) or "590000" (parameters).

        Raises:
            ConfigError: for any other text, and for a limit that is not positive.
        """
        number = text.strip()
        try:
            value = float(number.removesuffix("%").replace(",", ""))
        except ValueError:
            raise ConfigError(
                f"cannot read {text!r} as a limit on activated parameters; write a share of the "
                "base's activated parameters such as 0.1%, or a number of parameters such as 590000"
            ) from None
        return cls(value, percent=number.endswith("%"))

    def allows(self, size: AdapterSize) -> bool:
        """Whether an adapter of this size is within the limit."""
        return (size.activated_percent if self.percent else size.activated) <= self.value
