"""Loads a base's tokenizer. No code from a model repository is ever run."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from perft.errors import BaseModelError, first_line
from perft.models.quiet import quiet
from perft.models.weight_files import linked_small_files


def known_ids(model: PreTrainedModel) -> int:
    """Number of token ids that a base can both read and write, from 0 on."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return min(len(end.weight) for end in ends if end is not None)


def load_tokenizer(directory: Path, embeddings: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a base, with a padding token that the base knows.

    Padding is masked everywhere, so its id need only exist: end of sequence takes the place of a
    padding token that the base does not know.

    Args:
        directory: the base's.
        embeddings: how many ids the base knows, from 0 on.

    Raises:
        BaseModelError: if it cannot be loaded, or its end of sequence is unknown to the base.
    """
    with linked_small_files(directory) as folder, quiet():
        try:
            found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # of any type: the libraries behind it have their own
            raise BaseModelError(
                f"the tokenizer of base {str(directory)!r} cannot be loaded: {first_line(error)}; "
                "get its tokenizer.json again, or have transformers write one with save_pretrained"
            ) from error
    eos, pad = found.eos_token_id, found.pad_token_id
    if eos is not None and eos >= embeddings:
        raise BaseModelError(
            f"the tokenizer of base {str(directory)!r} ends a text with {found.eos_token!r} of id "
            f"{eos}, and the base has embeddings for ids up to {embeddings - 1} only; name a token "
            "that it knows as eos_token in tokenizer_config.json"
        )
    if pad is None or pad >= embeddings:
        found.pad_token = found.eos_token
    return found
