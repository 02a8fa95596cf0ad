"""An adapter's folder: written, read, and put on a base.

Laid out as HF PEFT lays out its own: keys are `base_model.model.<module path>.<tensor>`, the
configuration names a `peft_type`. LoRA on linear layers and on the router is a plain HF PEFT LoRA
folder; every other variant is of the type PERFT. `perft.adapter_folder` says which file holds what.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from perft.adapter_folder import BLOCK, CONFIG, PERFT, WEIGHTS, read_settings
from perft.config import AdapterConfig, LoraRouterConfig, adapter_from_flat
from perft.errors import AdapterError, StorageError
from perft.injection import AdapterHost
from perft.tasks import TaskSource

_PREFIX = "base_model.model."
_LORA_KINDS = (".adapters.lora_A", ".adapters.lora_B")


def adapter_files(
    config: AdapterConfig,
    tensors: Mapping[str, Tensor],
    *,
    base: str | None,
    fingerprint: str | None = None,
    trained_on: TaskSource | None = None,
) -> dict[str, bytes]:
    """The files of an adapter's folder, by name.

    Args:
        config: the adapter's configuration.
        tensors: its tensors, as `AdapterHost.tensors` gives them.
        base: id or name of the base.
        fingerprint: the base's, so that another base is noticed.
        trained_on: where the task came from, so that it can be scored on the same data.
    """
    is_lora = all(key.endswith(_LORA_KINDS) for key in tensors)
    block: dict[str, Any] = {"adapter": config.to_flat()}
    if fingerprint is not None:
        block["base_fingerprint"] = fingerprint
    if trained_on is not None:
        block["trained_on"] = dataclasses.asdict(trained_on)
    settings = {
        **(_lora_settings(config, tensors) if is_lora else {"peft_type": PERFT, "perft": block}),
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
    }
    renamed = {_to_file(key, is_lora): t.detach().cpu().contiguous() for key, t in tensors.items()}
    files = {WEIGHTS: save(renamed, {"format": "pt"}), CONFIG: _to_json(settings)}
    return {**files, BLOCK: _to_json(block)} if is_lora else files


def read_adapter(folder: str | Path) -> tuple[AdapterConfig, dict[str, Tensor], dict[str, Any]]:
    """Reads an adapter's folder, written by perft or by `peft` with `perft.hf_peft`.

    Returns:
        Its configuration, its tensors as `AdapterHost.load` takes them, and all its settings as
        `perft.adapter_folder.read_settings` gives them.

    Raises:
        AdapterError: if files are missing or damaged, or were not written by perft.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder} is no adapter folder: it has no {WEIGHTS}")
    try:
        config = adapter_from_flat(settings["perft"]["adapter"])
        tensors = load((folder / WEIGHTS).read_bytes())
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {error}") from error
    return config, {_from_file(key): tensor for key, tensor in tensors.items()}, settings


def save_adapter(host: AdapterHost, name: str, folder: str | Path) -> Path:
    """Writes one adapter, and nothing of the base, to `folder`; files of an earlier one give way.

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
    """Puts a saved adapter on a base and switches it on.

    Args:
        base: of the family and size the adapter was trained on; or its host, when it carries
            adapters already.
        folder: what `save_adapter`, `jobs/export.py` or `peft` wrote.
        name: what to call the adapter.

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


def _lora_settings(config: AdapterConfig, keys: Iterable[str]) -> dict[str, Any]:
    """What `peft` calls this LoRA; whole paths, so that it goes nowhere else on any family."""
    paths = sorted({key.rpartition(".adapters.")[0] for key in keys})
    on_weight = isinstance(config, LoraRouterConfig)
    return {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.scale * config.rank,
        "lora_dropout": config.dropout,
        "bias": "none",
        "target_modules": [] if on_weight else paths,
        "target_parameters": [f"{path}.weight" for path in paths] if on_weight else None,
    }


def _to_json(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()


def _to_file(key: str, is_lora: bool) -> str:
    """`a.b.adapters.kind` as the file spells it."""
    path, _, kind = key.rpartition(".adapters.")
    return f"{_PREFIX}{path}.{kind}.weight" if is_lora else f"{_PREFIX}{key}"


def _from_file(key: str) -> str:
    key = key.removeprefix(_PREFIX)
    if key.endswith(".weight"):
        path, _, kind = key.removesuffix(".weight").rpartition(".")
        return f"{path}.adapters.{kind}"
    return key
