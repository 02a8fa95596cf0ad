"""The folder of an adapter: its names, and what of it can be read without torch.

    adapter_model.safetensors   the tensors, by the keys of `perft.tensor_keys`
    adapter_config.json         how `peft` loads them; of the type PERFT with the block `perft`
    perft.json                  the block `perft` of a LoRA baseline
    scorer.py                   of an own task that code scores: that code, run only if trusted
    README.md, trial.json       of an exported adapter: its model card, and its search and trial
    MLmodel, requirements.txt,  likewise: what makes the folder a model of MLflow
    python_env.yaml, input_example.json

`adapter_config.json` is HF PEFT's: it alone says how `peft` loads `adapter_model.safetensors`.
perft adds one block, `perft`: the adapter's configuration and origin. For the type PERFT the block
is a field of `adapter_config.json`; a LoRA folder stays plain and has the block in `perft.json`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perft.checks import shown
from perft.config.typed import typed
from perft.errors import AdapterError, ConfigError
from perft.files import parse_json, read_file
from perft.home import remembered_place

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
BLOCK = "perft.json"
SCORER = "scorer.py"
CARD = "README.md"
TRIAL = "trial.json"
MLFLOW_MODEL, MLFLOW_ENVIRONMENT = "MLmodel", "python_env.yaml"
MLFLOW_EXAMPLE, REQUIREMENTS = "input_example.json", "requirements.txt"
PERFT = "PERFT"
"""The `peft_type` that `perft.hf_peft` adds to `peft`."""

# Optional fields of the two files that are read beside the adapter.
_PEFT: Mapping[str, Any] = {
    "base_model_name_or_path": str | None,
    "target_parameters": tuple[str, ...] | None,
}
_BLOCK: Mapping[str, Any] = {
    "base_fingerprint": str | None,
    "base_name": str | None,
    "quantize": str | None,
    "trained_on": Mapping[str, Any] | None,
}


def read_settings(folder: str | Path) -> dict[str, Any]:
    """Reads `adapter_config.json` and puts the block `perft` into it, whichever file has that.

    The block has an `adapter`, the flat configuration, and from a search also `base_fingerprint`
    and `trained_on`.

    Raises:
        AdapterError: if a file is missing or damaged, or the folder was not written by perft.
    """
    folder = Path(folder)
    settings = _read_object(folder, CONFIG)
    where = folder / CONFIG
    if settings.get("peft_type") != PERFT:
        where = folder / BLOCK
        if not where.is_file():
            raise AdapterError(
                f"{folder / CONFIG} was not written by perft: its peft_type is "
                f"{shown(settings.get('peft_type'))} and there is no {BLOCK} beside it; load it "
                "with peft, or export it from perft again"
            )
        settings["perft"] = _read_object(folder, BLOCK)
    block = settings.get("perft")
    if not (isinstance(block, dict) and isinstance(block.get("adapter"), dict)):
        raise AdapterError(
            f"{folder / CONFIG} was not written by perft: it has no adapter under the key 'perft'"
        )
    try:
        for key, kind in _PEFT.items():
            typed(kind, settings.get(key), key)
        found = {key: typed(kind, block.get(key), key) for key, kind in _BLOCK.items()}
    except ConfigError as error:
        raise AdapterError(f"{where} is damaged: {error}") from error
    present = {key: value for key, value in found.items() if value is not None}
    return {**settings, "perft": block | present}


def base_of(settings: Mapping[str, Any], folder: Path) -> str:
    """The base that an adapter was trained on: its hub id, or its last path on this machine.

    Args:
        settings: the adapter's, from `read_settings`.
        folder: the adapter's.

    Raises:
        AdapterError: if neither is known.
    """
    if named := settings.get("base_model_name_or_path"):
        return str(named)
    block = settings["perft"]
    if place := remembered_place(str(block.get("base_fingerprint"))):
        return str(place)
    known = f" of the base {block['base_name']!r}" if "base_name" in block else ""
    raise AdapterError(
        f"{folder} does not say where the files{known} are; give the base it was trained on: "
        "--base-model"
    )


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = parse_json(read_file(folder / name))
    except (FileNotFoundError, NotADirectoryError):
        raise AdapterError(f"{folder} is no adapter folder: it has no {name}") from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {name}: {error}") from error
    if not isinstance(found, dict):
        raise AdapterError(f"the adapter folder {folder} is damaged: {name} is no JSON object")
    return found
