"""A base without its weights: what can be counted before anything is downloaded or loaded."""

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
)

from perft.errors import BaseModelError
from perft.models.source import config_directory


def skeleton(base: str | None = None) -> PreTrainedModel:
    """A base's modules on the meta device, from its `config.json` alone.

    Args:
        base: None for the embedded base, else a local directory that has a `config.json`, or a
            hub id, of which only that file is fetched.

    Raises:
        BaseModelError: if it is not there, not a supported MoE family, or makes no sense.
    """
    directory = config_directory(base)
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        return skeleton_of(config)
    except Exception as error:  # a wrong size can surface anywhere in a model's constructor
        raise BaseModelError(
            f"no model can be built from {directory / 'config.json'}: {error!r}"
        ) from error


def skeleton_of(config: PretrainedConfig) -> PreTrainedModel:
    """The modules that a configuration describes, on the meta device."""
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config, trust_remote_code=False)
