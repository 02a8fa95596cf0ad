"""What a server takes, and what it refuses."""

from dataclasses import dataclass

MAX_BODY = 1 << 20
"""Most bytes of a request's body."""
MAX_PROMPTS = 64
"""Most prompts of one request."""
MAX_STOPS = 4
"""Most stop texts of one request, as OpenAI has it."""


@dataclass(frozen=True)
class Limits:
    """Settings of a server.

    Attributes:
        max_batch: rows that are written at a time.
        max_new_tokens: most tokens that a request may ask for.
        max_waiting: prompts that may wait for a place in the batch.
        timeout: seconds that a request may take, waiting included.
    """

    max_batch: int = 16
    max_new_tokens: int = 512
    max_waiting: int = 64
    timeout: float = 300.0
