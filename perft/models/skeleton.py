"""A base without its weights, to count parameters before anything is downloaded or loaded."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from perft.errors import BaseModelError
from perft.models.auto import auto_class
from perft.models.dequantise import dequantise
from perft.models.quiet import quiet
from perft.models.source import config_directory
from perft.models.weight_files import CONFIG


def read_config(directory: Path) -> PretrainedConfig:
    """A base's configuration, as perft builds and loads it.

    Quantised weights will be dequantised, whatever kernels the machine has. A padding id without an
    embedding is removed: torch refuses it, and nothing needs it.

    Raises:
        BaseModelError: if its `config.json` makes no sense.
    """
    try:
        with quiet():
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        text = config.get_text_config()
    except Exception as error:  # of any type: each family checks its own values
        raise BaseModelError(
            f"no model can be built from {directory / CONFIG}: {' '.join(str(error).split())}"
        ) from error
    for part in (config, text):
        pad, size = getattr(part, "pad_token_id", None), getattr(part, "vocab_size", None)
        if isinstance(pad, int) and isinstance(size, int) and not 0 <= pad < size:
            part.pad_token_id = None
    dequantise(config, str(directory))
    return config


def skeleton(base: str | None = None) -> PreTrainedModel:
    """A base's modules on the meta device, from its `config.json` alone.

    Args:
        base: None for the built-in base, else a local directory that has a `config.json`, or a
            hub id, of which only that file is fetched.

    Raises:
        BaseModelError: if it is missing, not of a supported MoE family, or makes no sense.
    """
    directory = config_directory(base)
    config = read_config(directory)
    try:
        return skeleton_of(config)
    except Exception as error:  # a wrong size can surface anywhere in a model's constructor
        raise BaseModelError(
            f"no model can be built from {directory / CONFIG}: {error!r}"
        ) from error


def skeleton_of(config: PretrainedConfig, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The modules that a configuration describes, on the meta device.

    Args:
        config: of a supported family.
        dtype: the weights' dtype; None for the configuration's.
    """
    with torch.device("meta"):
        return auto_class(config).from_config(config, dtype=dtype, trust_remote_code=False)
