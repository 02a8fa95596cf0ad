"""Where a base comes from, and the checks that need no weights in memory. Free of torch.

A base is the embedded one, a local directory, or a model id of the hub; all become a directory.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from perft.errors import BaseModelError, first_line
from perft.models.families import require_decoder, require_moe_settings

EMBEDDED = Path(__file__).parent / "embedded"
_SAMPLE = 1 << 20
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]

_LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")


def check_base(base: str | None) -> None:
    """Checks that a base can be used, without loading it.

    Args:
        base: None for the embedded base, else a local directory or a hub id.

    Raises:
        BaseModelError: if it is not there, not a supported MoE family, or has no weights;
            if it is an encoder with a decoder.
    """
    if base is None:
        return
    config = _read_config(base)
    require_moe_settings(config, base)
    require_decoder(config, base)
    if Path(base).is_dir():
        _require_weights(Path(base))


def base_directory(base: str | None) -> Path:
    """The directory that holds the base; a hub id is downloaded to the hub's cache.

    Raises:
        BaseModelError: as `check_base`.
    """
    if base is None:
        return EMBEDDED
    require_moe_settings(_read_config(base), base)
    directory = Path(base).resolve() if Path(base).is_dir() else _hub_snapshot(base)
    _require_weights(directory)
    return directory


def config_directory(base: str | None) -> Path:
    """The directory that holds the base's `config.json`; of a hub id, that file alone is fetched.

    Raises:
        BaseModelError: if it is not there, or not a supported MoE family.
    """
    if base is None:
        return EMBEDDED
    require_moe_settings(_read_config(base), base)
    return Path(base) if Path(base).is_dir() else _hub_config(base).parent


def layer_count(base: str | None) -> int | None:
    """How many decoder layers a base has by its `config.json`; None if that does not say."""
    config = json.loads((config_directory(base) / "config.json").read_text("utf-8"))
    for part in (config, config.get("text_config")):
        for key in _LAYERS:
            if isinstance(part, dict) and isinstance(part.get(key), int):
                return int(part[key])
    return None


def fingerprint(directory: Path) -> str:
    """SHA-256 in hexadecimal of a base's configuration, tokenizer and weights.

    Of each weight file the size, the first and the last MiB count: the header and enough content
    to tell two trainings of one architecture apart, at no cost for 100 GB.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.name in ("config.json", "tokenizer.json"):
            digest.update(path.read_bytes())
        elif path.suffix == ".safetensors":
            with path.open("rb") as file:
                size = path.stat().st_size
                digest.update(f"{path.name}:{size}".encode() + file.read(_SAMPLE))
                file.seek(max(0, size - _SAMPLE))
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _read_config(base: str) -> dict[str, Any]:
    path = Path(base) / "config.json" if Path(base).is_dir() else _hub_config(base)
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BaseModelError(f"base directory {base!r} has no config.json") from None
    except ValueError as error:
        raise BaseModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise BaseModelError(f"{path} is not a JSON object")
    return config


def _hub_config(base: str) -> Path:
    return _fetch(base, lambda: hf_hub_download(base, "config.json"))


def _hub_snapshot(base: str) -> Path:
    return _fetch(base, lambda: snapshot_download(base, allow_patterns=_WANTED))


def _fetch(base: str, download: Callable[[], str]) -> Path:
    nowhere = BaseModelError(f"base {base!r} is neither a directory here nor a hub id (owner/name)")
    if "/" not in base:  # the hub has no MoE without an owner, and takes its time to say so
        raise nowhere
    try:
        return Path(download())
    except HFValidationError:
        raise nowhere from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BaseModelError(
            f"base {base!r} is not a directory here and could not be fetched from the hub: "
            f"{first_line(error)}; give an existing directory, or a hub id that this machine can "
            "reach"
        ) from None


def _require_weights(directory: Path) -> None:
    index = directory / "model.safetensors.index.json"
    wanted = ["model.safetensors"]
    if index.is_file():
        try:
            wanted = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BaseModelError(f"{index} is damaged: {error!r}") from error
    missing = [name for name in wanted if not (directory / name).is_file()]
    if missing:
        raise BaseModelError(
            f"base directory {str(directory)!r} has no weights: {missing[0]} is missing "
            "(only safetensors files are read, pickled weights are refused)"
        )
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BaseModelError(f"base directory {str(directory)!r} has no tokenizer.json")
