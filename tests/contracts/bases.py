"""Tiny random bases of each family, small enough to build in a test."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedTokenizerFast,
)

FAMILIES = ("olmoe", "mixtral")
VOCABULARY = 50

# Matrices this small only wait for each other on many threads, most of all on a busy machine.
torch.set_num_threads(1)

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def tiny_base(family: str, dtype: torch.dtype = torch.float64, **other_sizes: int):
    """A random base with sharp routers, so that routing differs between tokens."""
    sizes = {**_SIZES, **other_sizes}
    torch.manual_seed(0)
    if family == "olmoe":
        model = OlmoeForCausalLM(OlmoeConfig(**sizes, num_experts=4))
    else:
        model = MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=4))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate.weight"):
                parameter.normal_(0, 0.5)
            elif parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    if dtype == torch.float64:
        model.set_experts_implementation("eager")  # grouped products have no fp64
    return model.to(dtype).eval()


def save_base(model, directory: Path, *, pad: bool = True) -> Path:
    """Writes a base as the hub would hold it, with a tokenizer of one word per id."""
    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.save_pretrained(directory)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="w2",
        eos_token="w1",
        pad_token="w0" if pad else None,
    ).save_pretrained(directory)
    return directory
