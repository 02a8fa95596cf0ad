"""The scoring methods and their protocols.

Invariant: no two methods share a protocol, so that their scores are never compared by mistake.
"""

from typing import Literal

from perft.errors import ConfigError
from perft.tasks.task import Split

Scoring = Literal["generation", "likelihood", "likelihood-normalized"]
"""By the generated text, or by the likelihood of each choice, per character or not."""


def protocol_of(split: Split, scoring: Scoring) -> str:
    """The protocol by which a split is scored."""
    if scoring == "generation":
        return split.scorer.protocol
    per = ", per character" if scoring == "likelihood-normalized" else ""
    return f"choice of the highest log-likelihood{per}, not comparable with generation"


def require_scorable(split: Split, scoring: Scoring) -> None:
    """Refuses a split that this method cannot score.

    Raises:
        ConfigError: names the split.
    """
    if scoring == "generation":
        if not split.scorer.generates:
            raise ConfigError(
                f"{split.name} has no accuracy, its task is scored by the loss only; give the task "
                "another scorer"
            )
    elif not all(example.choices for example in split.examples):
        raise ConfigError(
            f"likelihood compares choices and the examples of {split.name} have none; score it by "
            "generation"
        )
