"""An exported adapter as MLflow loads it: a python_function from prompts to completions.

`MLmodel` in an exported folder names this module; MLflow imports it and calls `_load_pyfunc`.
Nothing is unpickled, and this module imports no MLflow.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from perft.adapter_folder import base_of, read_settings
from perft.checkpoint import load_adapter
from perft.errors import ConfigError
from perft.evaluation.decoding import Opening
from perft.evaluation.generate import generate
from perft.injection import AdapterHost
from perft.models.load import Base, load_base
from perft.models.source import BUILTIN_NAMES
from perft.ranks import Ranks
from perft.tasks import Example
from perft.tasks.tokenize import require_eos, tokenize_prompts

COLUMN, NAME = "prompt", "adapter"
DEFAULT_NEW_TOKENS = 256
_CONFIG = ("base_model", "dtype", "experts", "quantize")


class AdapterModel:
    """An adapter on its base.

    Args:
        base: loaded.
        host: the base with the adapter, which is active.
    """

    def __init__(self, base: Base, host: AdapterHost) -> None:
        self._base, self._host = base, host

    def predict(
        self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Continues prompts greedily, as `perft evaluate` does.

        Args:
            model_input: a table with the column `prompt`: whole prompts, in the form that the
                adapter was trained on.
            params: `max_new_tokens`, the most tokens of a completion.

        Returns:
            The completions, in order of the rows.

        Raises:
            ConfigError: if the base has no room for a prompt and so many tokens.
        """
        new = int((params or {}).get("max_new_tokens", DEFAULT_NEW_TOKENS))
        if not 0 < new < self._base.positions:
            raise ConfigError(
                f"max_new_tokens is {new}, wanted 1 or more, and fewer than the "
                f"{self._base.positions} tokens that the base takes in all"
            )
        tokenizer = self._base.tokenizer
        examples = [Example(str(text), "", "") for text in model_input[COLUMN]]
        rows = tokenize_prompts(examples, tokenizer, self._base.positions - new)
        openings = {NAME: [Opening(rows.row(i)[0], new) for i in range(len(rows))]}
        pad: int = tokenizer.pad_token_id
        found = generate(
            self._host,
            openings,
            pad=pad,
            eos=require_eos(tokenizer),
            ranks=Ranks(device=self._base.model.device),
        )
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in found[NAME]]


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> AdapterModel:
    """Loads an exported folder with its base; MLflow calls it.

    Args:
        path: the folder.
        model_config: `base_model` (a hub id or a local directory) where the folder does not say
            which; `dtype`, `experts` and `quantize` as `perft.load_base` takes them.

    Raises:
        PerftError: if the folder is damaged, or its base cannot be found or loaded.
    """
    config = dict(model_config or {})
    if unknown := sorted(config.keys() - set(_CONFIG)):
        raise ConfigError(f"model_config has {unknown[0]!r}, wanted {', '.join(_CONFIG)}")
    base = load_base(
        _base(Path(path), config.get("base_model")),
        device="cuda" if torch.cuda.is_available() else "cpu",
        dtype=config.get("dtype", "auto"),
        experts=config.get("experts", "auto"),
        quantize=config.get("quantize", "none"),
        compile=False,
    )
    return AdapterModel(base, load_adapter(base.model, path, name=NAME))


def _base(folder: Path, wanted: str | None) -> str | None:
    """The base of an adapter: the wanted one, or what its folder says; None for the built-in."""
    named = wanted or base_of(read_settings(folder), folder)
    return None if named in BUILTIN_NAMES else named
