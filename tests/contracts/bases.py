"""Tiny random bases of each family, small enough to build in a test."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from perft.models.blocks import find_moe_blocks
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.tiny import VOCABULARY, tiny_model

FAMILIES = ("olmoe", "mixtral")

# Each has something in its routing, block or layers that the ones before it have not.
DIVERSE = (
    "olmoe", "deepseek_v3", "gpt_oss", "llama4_text", "laguna", "gemma4_text", "jetmoe",
    "deepseek_v4", "qwen3_next", "switch_transformers",
)  # fmt: skip


def every_family_but(*others: str) -> pytest.MarkDecorator:
    """Some families by default, all of them but `others` with the marker `families`."""
    return pytest.mark.parametrize(
        "family",
        [
            pytest.param(family, marks=() if family in DIVERSE else pytest.mark.families)
            for family in sorted(set(SUPPORTED) - set(others))
        ],
    )


every_family = every_family_but()

# Matrices this small only wait for each other on many threads, most of all on a busy machine.
torch.set_num_threads(1)


def tiny_base(
    family: str, dtype: torch.dtype = torch.float64, **other_sizes: int
) -> PreTrainedModel:
    """A random base with sharp routers, so that routing differs between tokens."""
    torch.manual_seed(0)
    model = tiny_model(family, **other_sizes)
    blocks = find_moe_blocks(model)
    routers = {id(parameter) for block in blocks for parameter in block.router.parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5 if id(parameter) in routers else 0.2)
        for block in blocks:
            for buffer in block.module.buffers():
                _fill(buffer, block.num_experts, block.top_k)
    if dtype == torch.float64:
        model.set_experts_implementation("eager")  # grouped products have no fp64
    model = model.to(dtype).eval()
    for block in blocks:
        if family in ("inkling2", "inkling2_text"):  # whose router takes nothing but fp32
            block.router.float()
    return model


def _fill(buffer: Tensor, experts: int, top_k: int) -> None:
    """Correction biases and tables of experts by token id, which a fresh model has all zero."""
    if buffer.dtype == torch.long:
        table = [torch.randperm(experts)[:top_k] for _ in range(len(buffer))]
        buffer.copy_(torch.stack(table))
    elif buffer.shape == (experts,):
        buffer.normal_(0, 0.1)


def answer(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The logits; an encoder with a decoder gets the same tokens on both sides."""
    if model.config.is_encoder_decoder:
        logits: Tensor = model(input_ids=ids, decoder_input_ids=ids).logits
    else:
        logits = model(ids).logits
    return logits


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
