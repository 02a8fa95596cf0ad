"""The folder of a tiny base: weights, tokenizer, and a card that says how it was made."""

import dataclasses
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from perft.models.pretrain.trainer import PretrainConfig
from perft.models.source import PRETRAINING

_CARD = """---
license: apache-2.0
library_name: transformers
tags: [{model_type}, synthetic]
---

# A tiny base of perft

A tiny Mixture-of-Experts language model ({model}): {parameters:,} parameters in {dtype}, pretrained
on text that a seed makes: equations, short stories, worked questions, and a small world of facts.
It exists so that a search runs anywhere in seconds; it knows nothing else.

Made by

    {command}

with the settings {settings}, on {versions}.
"""


def write_base(
    out: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: PretrainConfig
) -> None:
    """Writes a pretrained base to `out`; its weights become bf16, in place.

    Rounded so, the base is the same whether loaded in bf16 or in fp32. `pretraining.json`, by which
    perft knows it for a tiny base, is written last.
    """
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    settings = dataclasses.asdict(config)
    (out / "README.md").write_text(_card(model, config, settings), "utf-8")
    (out / PRETRAINING).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _card(model: PreTrainedModel, config: PretrainConfig, settings: Mapping[str, object]) -> str:
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}"
    )
    command = (
        f"python -m perft.models.pretrain --out DIR --architecture {config.architecture} "
        f"--seed {config.seed} --steps {config.steps}"
    )
    return _CARD.format(
        model=type(model).__name__,
        model_type=model.config.model_type,
        parameters=model.num_parameters(),
        dtype=str(model.dtype).removeprefix("torch."),
        command=command,
        settings=", ".join(f"{name} {value}" for name, value in settings.items()),
        versions=versions,
    )
