"""The model card of the built-in base: what it is and how it was made."""

import dataclasses
import platform
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers import OlmoeForCausalLM

from perft.models.pretrain.trainer import PretrainConfig

_CARD = """---
license: apache-2.0
library_name: transformers
tags: [olmoe, synthetic]
---

# The built-in base of perft

A tiny Mixture-of-Experts language model of the OLMoE architecture: {parameters:,} parameters in
{dtype}, pretrained on text that a seed makes: equations, short stories, worked questions, and a
small world of facts. It exists so that a search runs anywhere in seconds; it knows nothing else.

Made by

    python -m perft.models.pretrain --out DIR --seed {seed} --steps {steps}

with the settings {settings}, on {versions}.
"""


def write_card(out: Path, model: OlmoeForCausalLM, config: PretrainConfig) -> None:
    """Writes `README.md` beside the weights in `out`."""
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}"
    )
    settings = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(config).items())
    card = _CARD.format(
        parameters=model.num_parameters(),
        dtype=str(model.dtype).removeprefix("torch."),
        seed=config.seed,
        steps=config.steps,
        settings=settings,
        versions=versions,
    )
    (out / "README.md").write_text(card, "utf-8")
