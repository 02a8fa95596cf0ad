"""Checks a base before its weights are read."""

from collections.abc import Iterable

from perft.tasks import Split


def require_base(base: str | None, splits: Iterable[Split]) -> None:
    """Checks a base and its tokenizer as far as possible without reading weights.

    Imports torch only if needed: the built-in base needs no check.

    Args:
        base: None for the built-in base, else a local directory or a hub id.
        splits: the data that it will be trained or scored on.

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
    """Like `perft.models.implementations.require_implementation`; imports torch only if needed."""
    if experts != "auto":
        from perft.models.implementations import require_implementation  # noqa: PLC0415

        require_implementation(experts, training=training)
