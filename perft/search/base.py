"""What a base must be for anything to train on it, known before any weights are read."""

from collections.abc import Iterable

from perft.tasks import Split


def require_base(base: str | None, splits: Iterable[Split]) -> None:
    """Checks all that can be known of a base and its tokenizer without reading its weights.

    It imports torch only if it has to: the built-in base is what it is.

    Args:
        base: None for the built-in base, else a local directory or a hub id.
        splits: what it is to be trained or scored on.

    Raises:
        BaseModelError: if it cannot be loaded, or tokenizer and base do not belong together.
        DataError: naming the first text with a token that the base does not know.
    """
    if base is not None:
        from perft.models.rehearsal import rehearse  # noqa: PLC0415
        from perft.tasks.vocabulary import require_embeddings  # noqa: PLC0415

        known = rehearse(base)
        require_embeddings(splits, known.tokenizer, known.embeddings)


def require_experts(experts: str, *, training: bool) -> None:
    """As `perft.models.implementations.require_implementation`; imports torch only if it has to."""
    if experts != "auto":
        from perft.models.implementations import require_implementation  # noqa: PLC0415

        require_implementation(experts, training=training)
