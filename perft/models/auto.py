"""Chooses the auto class of transformers that builds and loads a family."""

from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
)

from perft.models.families import FAMILIES


def auto_class(config: PreTrainedConfig) -> Any:
    """The auto class of a configuration's family; for an unknown one, the causal one."""
    family = FAMILIES.get(config.model_type)
    if family is not None and family.multimodal:
        return AutoModelForMultimodalLM
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
