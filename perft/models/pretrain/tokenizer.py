"""The tokenizer of the built-in base: lossless on any text, one token per digit."""

from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from perft.synthetic.pretraining import documents

PAD, EOS = "<pad>", "<eos>"
_MAX_TOKENS = 1024  # never reached: merging ends when every word of the text is one token
_DOCUMENTS = 20_000


def build_tokenizer(*, seed: int, max_length: int) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE on the synthetic text.

    Args:
        seed: chooses the documents to train on.
        max_length: longest sequence the base takes, in tokens.

    Returns:
        A tokenizer that pads on the right and adds no special token of its own.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # One token per digit; a leading space stays with the first digit of a number.
            pre_tokenizers.Split(Regex(" ?[0-9]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_TOKENS,
        min_frequency=2,
        special_tokens=[PAD, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(documents(seed), _DOCUMENTS), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
    )
