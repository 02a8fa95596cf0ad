"""The scoring methods and their protocols.

Invariant: no two methods share a protocol, so that their scores are never compared by mistake.
"""

from typing import Literal

from perft.errors import ConfigError
from perft.tasks.extraction import labels_match
from perft.tasks.task import Scorer, Split

Scoring = Literal["generation", "likelihood", "likelihood-normalized", "preference"]
"""By the generated text, by the likelihood of each choice, per character or not, or by which answer
of a pair the adapter prefers."""

PREFERENCE = Scorer(
    protocol="preference: the answer of each pair that the adapter makes likelier, against the "
    "base alone",
    max_new_tokens=0,
    extract=lambda text: text.strip() or None,
    matches=labels_match,
    compares_pairs=True,
)
"""Judges pairs: the answer of the larger implicit reward (arXiv 2305.18290), the difference of its
log-probability from that of the base alone; of equal ones the rejected."""


def scoring_of(split: Split) -> Scoring:
    """How a split is scored unless the user says otherwise."""
    return "preference" if split.scorer.compares_pairs else "generation"


def protocol_of(split: Split, scoring: Scoring) -> str:
    """The protocol by which a split is scored."""
    if scoring in ("generation", "preference"):
        return split.scorer.protocol
    per = ", per character" if scoring == "likelihood-normalized" else ""
    return f"choice of the highest log-likelihood{per}, not comparable with generation"


def require_scorable(split: Split, scoring: Scoring) -> None:
    """Refuses a split that this method cannot score.

    Raises:
        ConfigError: names the split.
    """
    if scoring != "preference" and split.scorer.compares_pairs:
        raise ConfigError(f"{split.name} is scored by preference, found {scoring}; leave it out")
    if scoring == "preference" and not split.scorer.compares_pairs:
        raise ConfigError(
            f"preference compares pairs of answers and {split.name} is not scored by pairs; leave "
            "it out, or give the task the scorer preference"
        )
    if scoring == "generation" and not split.scorer.generates:
        raise ConfigError(
            f"{split.name} has no accuracy, its task is scored by the loss only; give the task "
            "another scorer"
        )
    if scoring.startswith("likelihood") and not all(each.choices for each in split.examples):
        raise ConfigError(
            f"likelihood compares choices and the examples of {split.name} have none; score it by "
            "generation"
        )
