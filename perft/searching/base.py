"""Checks a base before its weights are read."""

import dataclasses
from collections.abc import Iterable

from perft.errors import BaseModelError, first_line
from perft.models.source import tokenizer_directory
from perft.tasks import Split, TaskSource

_ANY_ID = 1 << 62  # which ids the base knows is checked later, with its weights


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


def require_experts(experts: str, *, training: bool, quantize: str = "none") -> None:
    """Like `perft.models.implementations.require_implementation`; imports torch only if needed."""
    if experts != "auto":
        from perft.models.implementations import require_implementation  # noqa: PLC0415

        require_implementation(experts, training=training, quantize=quantize)


def with_base_template(source: TaskSource, base: str | None) -> TaskSource:
    """A task of conversations with the base's chat template, unless it declares its own.

    Args:
        source: any task; what is not of conversations is returned as it is.
        base: None for the built-in base, which has no template of its own, else a local directory
            or a hub id.

    Raises:
        BaseModelError: if the tokenizer cannot be loaded, or its templates are ambiguous.
    """
    own = source.own
    if own is None or not own.get("messages"):
        return source
    if own["chat_template"] and own["special_tokens"]:
        return source
    from perft.models.tokenizer import load_tokenizer  # noqa: PLC0415

    tokenizer = load_tokenizer(tokenizer_directory(base), _ANY_ID)
    texts = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
    try:
        has_any = own["chat_template"] or tokenizer.chat_template
        template = own["chat_template"] or (tokenizer.get_chat_template() if has_any else "")
    except ValueError as error:
        raise BaseModelError(
            f"the chat template of base {base!r} is ambiguous: {first_line(error)}; give the task "
            "its chat_template"
        ) from error
    tokens = own["special_tokens"] or texts
    changed = {**own, "chat_template": template, "special_tokens": tokens}
    return dataclasses.replace(source, own=changed)
