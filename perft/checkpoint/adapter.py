"""Writes an adapter's folder, reads it, and loads it onto a base.

The layout is HF PEFT's: its keys (`perft.tensor_keys`), and a `peft_type` in the configuration.
The LoRA baselines are plain HF PEFT LoRA folders, the PERFT variants have the type PERFT.
`perft.adapter_folder` lists the files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from perft.adapter_folder import BLOCK, CONFIG, PERFT, WEIGHTS, read_settings
from perft.adapters.table import variant_of
from perft.checkpoint.lora import from_peft, to_peft
from perft.config import AdapterConfig, adapter_from_flat
from perft.errors import AdapterError, ConfigError, StorageError
from perft.files import require_file
from perft.injection import AdapterHost
from perft.models.precision import NONE
from perft.tensor_keys import with_prefix, without_prefix

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def adapter_files(
    config: AdapterConfig,
    tensors: Mapping[str, Tensor],
    *,
    base: str | None,
    fingerprint: str | None = None,
    quantize: str = NONE,
    trained_on: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The files of an adapter's folder, by name.

    Args:
        config: the adapter's configuration.
        tensors: its tensors, from `AdapterHost.tensors`.
        base: hub id of the base, or "built-in"; of a directory only the name is kept.
        fingerprint: the base's, to detect another base.
        quantize: the precision of the base's large weights.
        trained_on: the task, from `perft.tasks.to_record`, for scoring on the same data.
    """
    block: dict[str, Any] = {"adapter": config.to_flat()}
    if fingerprint is not None:
        block["base_fingerprint"] = fingerprint
    if quantize != NONE:
        block["quantize"] = quantize
    if trained_on is not None:
        block["trained_on"] = dict(trained_on)
    if base is not None and Path(base).is_dir():  # a local path is useless elsewhere
        block["base_name"], base = Path(base).name, None
    is_lora = variant_of(config).hf_storage != "PERFT"
    own: dict[str, Any] = {"peft_type": PERFT, "perft": block}
    if is_lora:
        tensors, own = to_peft(config, tensors)
    settings = {
        **own,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
    }
    renamed = {with_prefix(key): t.detach().cpu().contiguous() for key, t in tensors.items()}
    files = {WEIGHTS: save(renamed, {"format": "pt"}), CONFIG: _to_json(settings)}
    return {**files, BLOCK: _to_json(block)} if is_lora else files


def read_adapter(folder: str | Path) -> tuple[AdapterConfig, dict[str, Tensor], dict[str, Any]]:
    """Reads an adapter's folder, written by perft or by `peft` with `perft.hf_peft`.

    Returns:
        Its configuration, its tensors for `AdapterHost.load`, and all its settings from
        `perft.adapter_folder.read_settings`.

    Raises:
        AdapterError: if files are missing or damaged, or were not written by perft.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder} is no adapter folder: it has no {WEIGHTS}")
    try:
        config = adapter_from_flat(settings["perft"]["adapter"])
        found = _read_weights(folder / WEIGHTS)
        tensors = {without_prefix(key): tensor for key, tensor in found.items()}
        if settings["peft_type"] != PERFT:
            tensors = from_peft(config, tensors, settings)
    except ConfigError as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {error}") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {WEIGHTS}: {error}") from error
    return config, tensors, settings


def _read_weights(file: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file, after a check of its header.

    Raises:
        OSError, ValueError, SafetensorError: if it cannot be read, or values are not finite floats.
    """
    require_file(file)
    with safe_open(file, framework="pt"):
        pass
    found = load(file.read_bytes())
    for key, tensor in found.items():
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{key} is of {tensor.dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"{key} has values that are not finite")
    return found


def save_adapter(host: AdapterHost, name: str, folder: str | Path) -> Path:
    """Writes one adapter, and nothing of the base, to `folder`, replacing an earlier one.

    Returns:
        `folder`.

    Raises:
        AdapterError: if no adapter of that name is on the base.
        StorageError: if the folder cannot be written.
    """
    tensors = host.tensors(name)
    files = adapter_files(host.configs[name], tensors, base=host.model.name_or_path or None)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error}; choose another folder") from error
    return folder


def load_adapter(
    base: PreTrainedModel | AdapterHost, folder: str | Path, *, name: str = "adapter"
) -> AdapterHost:
    """Loads a saved adapter onto a base and activates it.

    Args:
        base: a base of the family and size that the adapter was trained on; or its host, if it
            already has adapters.
        folder: written by `save_adapter`, `jobs/export.py` or `peft`.
        name: the adapter's name on the base.

    Returns:
        The host: `host.activate(None)` switches the adapter off, `host.activate(name)` on.

    Raises:
        AdapterError: if the folder is damaged, or the adapter does not fit the base.
        BaseModelError: if the base is not a supported MoE.
    """
    config, tensors, _ = read_adapter(folder)
    host = base if isinstance(base, AdapterHost) else AdapterHost(base)
    host.load(name, config, tensors)
    host.activate(name)
    return host


def _to_json(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()
