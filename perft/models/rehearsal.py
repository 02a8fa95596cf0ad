"""Rehearses the loading of a base: reads only its files' headers, and allocates no memory.

transformers converts, fuses and renames weights by family. Here it does so on meta tensors, so that
missing weights and wrong shapes show before any worker starts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from perft.errors import BaseModelError, first_line
from perft.models.quiet import quiet
from perft.models.skeleton import read_config, skeleton_of
from perft.models.source import base_directory, checked_tensors
from perft.models.tokenizer import known_ids, load_tokenizer
from perft.models.weight_files import StoredTensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
"""torch's dtypes, by the safetensors dtypes of a dequantised base."""


@dataclass(frozen=True)
class Rehearsed:
    """What is known of a base before it is loaded.

    Attributes:
        tokenizer: as it will be loaded.
        embeddings: number of token ids that the base knows, from 0 on.
    """

    tokenizer: PreTrainedTokenizerBase
    embeddings: int


def rehearse(base: str) -> Rehearsed:
    """Loads a base without its weights, to find what would make loading fail.

    Args:
        base: a local directory or a hub id, which is downloaded.

    Raises:
        BaseModelError: if its weights do not match its `config.json`, or its tokenizer cannot be
            loaded or does not belong to it.
    """
    directory = base_directory(base)
    model = _load(directory, checked_tensors(directory, base), base)
    embeddings = known_ids(model)
    return Rehearsed(load_tokenizer(directory, embeddings), embeddings)


def require_complete(report: dict[str, Any], base: str) -> None:
    """Refuses a base with missing weights or weights of a wrong shape.

    Args:
        report: transformers' `loading_info`.
        base: what the user called it, for messages.

    Raises:
        BaseModelError: naming one of them.
    """
    if wrong := sorted(report["mismatched_keys"]):
        name, stored, wanted = wrong[0]
        more = f" ({len(wrong)} weights do not fit)" if len(wrong) > 1 else ""
        raise BaseModelError(
            f"base {base!r} cannot be loaded: {name} is of shape {list(stored)}, and config.json "
            f"asks for {list(wanted)}{more}; correct config.json, or get the files that belong "
            "together"
        )
    if missing := sorted(report["missing_keys"]):  # transformers would fill them at random
        raise BaseModelError(
            f"base {base!r} lacks {len(missing)} weights that its config.json asks for, "
            f"{missing[0]} among them; get its safetensors files again"
        )


def _load(directory: Path, tensors: dict[str, StoredTensor], base: str) -> PreTrainedModel:
    config = read_config(directory)
    for part in (config, config.get_text_config()):
        part.quantization_config = None  # the tensors are dequantised already
    empty = {
        name: torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype], device="meta")
        for name, tensor in tensors.items()
    }
    try:
        with quiet():
            model, report = type(skeleton_of(config)).from_pretrained(
                None,
                config=config,
                state_dict=empty,
                device_map={"": "meta"},
                dtype=torch.bfloat16,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # of any type: each family has code of its own
        raise BaseModelError(
            f"base {base!r} cannot be loaded: {first_line(error)}; config.json and safetensors "
            "files do not belong together, or are damaged"
        ) from error
    require_complete(report, base)
    return model
