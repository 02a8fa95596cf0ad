"""An adapter's folder: `adapter_model.safetensors` and `adapter_config.json`.

Laid out as HF PEFT lays out its own: keys are `base_model.model.<module path>.<tensor>`, the
configuration names a `peft_type`. LoRA on q,v is a plain HF PEFT LoRA folder; the PERFT variants
are of type PERFT. What perft itself reads is under the key `perft`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from perft.config import AdapterConfig, LoraQVConfig, LoraRouterConfig, adapter_from_flat
from perft.errors import AdapterError
from perft.injection import AdapterHost
from perft.tasks import TaskSource

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."


def adapter_files(
    config: AdapterConfig,
    tensors: Mapping[str, Tensor],
    *,
    base: str,
    fingerprint: str,
    trained_on: TaskSource,
) -> dict[str, bytes]:
    """The files of an adapter's folder, by name.

    Args:
        config: the adapter's configuration.
        tensors: its tensors, as `AdapterHost.tensors` gives them.
        base: id or name of the base.
        fingerprint: the base's, so that another base is noticed.
        trained_on: where the task came from, so that it can be scored on the same data.
    """
    renamed = {_to_file(key): t.detach().cpu().contiguous() for key, t in tensors.items()}
    settings = {
        **_hf_settings(config),
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "perft": {
            "adapter": config.to_flat(),
            "base_fingerprint": fingerprint,
            "trained_on": dataclasses.asdict(trained_on),
        },
    }
    return {
        WEIGHTS: save(renamed, {"format": "pt"}),
        CONFIG: (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode(),
    }


def read_adapter(folder: str | Path) -> tuple[AdapterConfig, dict[str, Tensor], dict[str, Any]]:
    """Reads an adapter's folder.

    Returns:
        Its configuration, its tensors as `AdapterHost.load` takes them, and all settings of its
        `adapter_config.json`.

    Raises:
        AdapterError: if files are missing or damaged, or were not written by perft.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise AdapterError(f"{folder} is no adapter folder: it has no {name}")
    try:
        settings = json.loads((folder / CONFIG).read_text("utf-8"))
        config = adapter_from_flat(settings["perft"]["adapter"])
        tensors = load((folder / WEIGHTS).read_bytes())
    except KeyError as error:
        raise AdapterError(f"{folder / CONFIG} has no {error}; was it written by perft?") from error
    except (ValueError, TypeError, SafetensorError) as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {error}") from error
    return config, {_from_file(key): tensor for key, tensor in tensors.items()}, settings


def load_adapter(
    model: PreTrainedModel, folder: str | Path, *, name: str = "adapter"
) -> AdapterHost:
    """Puts a saved adapter on a base and switches it on.

    Args:
        model: a base of the family and size the adapter was trained on.
        folder: what `jobs/export.py` wrote.
        name: what to call the adapter.

    Returns:
        The host: `host.activate(None)` switches the adapter off, `host.activate(name)` on.

    Raises:
        AdapterError: if the folder is damaged, or the adapter does not fit the base.
        BaseModelError: if the base is not a supported MoE.
    """
    config, tensors, _ = read_adapter(folder)
    host = AdapterHost(model)
    host.load(name, config, tensors)
    host.activate(name)
    return host


def _hf_settings(config: AdapterConfig) -> dict[str, Any]:
    if not isinstance(config, LoraQVConfig | LoraRouterConfig):
        return {"peft_type": "PERFT"}
    lora = {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.scale * config.rank,
        "lora_dropout": config.dropout,
        "bias": "none",
    }
    if isinstance(config, LoraQVConfig):
        return {**lora, "target_modules": ["q_proj", "v_proj"]}
    return {**lora, "target_modules": [], "target_parameters": ["gate.weight"]}


def _to_file(key: str) -> str:
    """`a.b.adapters.kind` as the file spells it."""
    path, _, kind = key.rpartition(".adapters.")
    if kind.startswith("lora_"):
        return f"{_PREFIX}{path}.{kind}.weight"
    return f"{_PREFIX}{path}.adapters.{kind}"


def _from_file(key: str) -> str:
    key = key.removeprefix(_PREFIX)
    if key.endswith(".weight"):
        path, _, kind = key.removesuffix(".weight").rpartition(".")
        return f"{path}.adapters.{kind}"
    return key
