"""What a model card tells beside a trial, its settings and its scores."""

from dataclasses import dataclass

from perft.tasks import Example

LONGEST = 4000
"""Characters of an example that a card shows."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """How the adapter is to be prompted.

    Attributes:
        template: text with an example's columns in braces; empty if each example has its own.
        protocol: how answers are read and scored.
        max_new_tokens: limit of generation; 0 where nothing is generated.
        example: one of the task; None if it is not to be shown.
    """

    template: str
    protocol: str
    max_new_tokens: int
    example: Example | None = None


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Facts that a card has if they are known.

    Attributes:
        prompt: None if the task's data are not on this machine.
        license: the adapter's, as the hub names it, such as "apache-2.0".
        datasets: ids on the hub of what it was trained on.
        seconds: that its search ran.
        gpu_seconds: the same, times the GPUs of its worker groups.
        repo: where on the hub the folder goes; None if it stays here.
    """

    prompt: Prompt | None = None
    license: str | None = None
    datasets: tuple[str, ...] = ()
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    repo: str | None = None
