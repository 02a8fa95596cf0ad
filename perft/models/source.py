"""Finds the files of a base, and checks them without loading weights. Free of torch.

A base is the built-in one, a local directory, or a hub id; each becomes a directory.
"""

import functools
import hashlib
import json
import sys
from pathlib import Path

from perft.adapter_folder import CONFIG as ADAPTER_CONFIG
from perft.errors import BaseModelError
from perft.files import resolved
from perft.models.families import require_decoder, require_moe_settings
from perft.models.hub import hub_config, hub_small_files, hub_snapshot
from perft.models.quantization import dequantised, dequantised_note, quantization_of
from perft.models.weight_files import CONFIG, TOKENIZERS, StoredTensor, stored_tensors, weight_files

BUILTIN = Path(__file__).parent / "builtin"
BUILTIN_NAMES = ("built-in", "embedded")
"""What adapters call the built-in base; the second is its name before 0.2."""
PRETRAINING = "pretraining.json"
"""File of a tiny base that perft has pretrained: the settings of its pretraining."""
_SAMPLE = 1 << 20

_LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")


def check_base(base: str | None) -> None:
    """Checks that a base can be used, without loading it; prints notes for the user.

    Of a hub id only the `config.json` is fetched and checked; `base_directory` checks the rest.

    Args:
        base: None for the built-in base, else a local directory or a hub id.

    Raises:
        BaseModelError: if it is missing, not of a supported MoE family, in an unsupported format,
            lacks weights, or is an encoder-decoder.
    """
    if base is None:
        return
    config = _checked_config(base)
    require_decoder(config, base)
    if (directory := local_directory(base)) is not None:
        _check_files(directory, config, base)


def is_tiny(base: str | None) -> bool:
    """Whether it is the built-in base, or one that perft has pretrained alike.

    Search spaces treat both alike: their learning rates and sizes suit such a base, and no other.
    """
    return base is None or (resolved(base) / PRETRAINING).is_file()


def base_directory(base: str | None) -> Path:
    """The directory that holds the base; a hub id is downloaded to the hub's cache.

    Raises:
        BaseModelError: as `check_base`, but not for an encoder-decoder.
    """
    if base is None:
        return BUILTIN
    config = _checked_config(base)
    directory = local_directory(base) or hub_snapshot(base)
    _check_files(directory, config, base)
    return directory


def config_directory(base: str | None) -> Path:
    """The directory that holds the base's `config.json`; of a hub id, that file alone is fetched.

    Raises:
        BaseModelError: if it is missing, not of a supported MoE family, or in an unsupported
            format.
    """
    if base is None:
        return BUILTIN
    _checked_config(base)
    return local_directory(base) or hub_config(base).parent


def tokenizer_directory(base: str | None) -> Path:
    """The directory that holds the base's tokenizer; of a hub id, no weights are fetched.

    Raises:
        BaseModelError: as `config_directory`.
    """
    if base is None:
        return BUILTIN
    _checked_config(base)
    return local_directory(base) or hub_small_files(base)


def local_directory(base: str) -> Path | None:
    """The directory that a base's name means on this machine; None for a hub id.

    Raises:
        BaseModelError: if it is a path, but not that of a directory.
        ConfigError: if it is no path.
    """
    path = resolved(base)
    if base and path.is_dir():
        return path
    if path.is_file():
        raise BaseModelError(
            f"base {base!r} is a file, wanted the directory that it is in, with {CONFIG}, weights "
            "and tokenizer"
        )
    is_path = base.startswith((".", "/", "~")) or base.endswith("/") or "\\" in base
    if not base.strip() or is_path:
        raise BaseModelError(
            f"base {base!r} is neither a directory here nor a hub id (owner/name): "
            f"{path.absolute()} is not there"
        )
    return None


@functools.cache
def note_once(text: str) -> None:
    """Prints a note on stderr, once per process."""
    print(f"note: {text}", file=sys.stderr)


def layer_count(base: str | None) -> int | None:
    """Number of decoder layers by the base's `config.json`; None if that does not say."""
    config = json.loads((config_directory(base) / "config.json").read_text("utf-8"))
    for part in (config, config.get("text_config")):
        for key in _LAYERS:
            if isinstance(part, dict) and isinstance(part.get(key), int):
                return int(part[key])
    return None


def fingerprint(directory: Path) -> str:
    """SHA-256 in hexadecimal of a base's configuration, tokenizer and weights.

    Of each weight file only the size, the first and the last MiB count: the header and enough
    content to tell two trainings of one architecture apart, in no time for 100 GB.
    """
    digest = hashlib.sha256()
    weights = weight_files(directory)
    texts = [name for name in (CONFIG, *TOKENIZERS) if (directory / name).is_file()]
    for name in sorted((*weights, *texts)):
        path = directory / name
        if name in texts:
            digest.update(path.read_bytes())
            continue
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{name}:{size}".encode() + file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _checked_config(base: str) -> dict[str, object]:
    """The base's configuration, checked to be of a supported MoE family and format."""
    directory = local_directory(base)
    config = _read_config(directory / CONFIG if directory else hub_config(base), base)
    require_moe_settings(config, base)
    quantization_of(config, base)
    return config


def _read_config(path: Path, base: str) -> dict[str, object]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        lora = f", but a LoRA ({ADAPTER_CONFIG}): name the base that it was trained on"
        has_lora = (path.parent / ADAPTER_CONFIG).is_file()
        raise BaseModelError(
            f"base directory {base!r} has no config.json{lora if has_lora else ''}"
        ) from None
    except OSError as error:
        raise BaseModelError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BaseModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise BaseModelError(f"{path} is not a JSON object")
    return config


def checked_tensors(directory: Path, base: str) -> dict[str, StoredTensor]:
    """The tensors of a base's weights as they are after loading, from the headers of its files.

    Raises:
        BaseModelError: if a file is damaged or missing, or is not stored as `config.json` says.
    """
    quantization = quantization_of(_read_config(directory / CONFIG, base), base)
    return dequantised(stored_tensors(directory), quantization, base)


def _check_files(directory: Path, config: dict[str, object], base: str) -> None:
    stored, quantization = stored_tensors(directory), quantization_of(config, base)
    tensors = dequantised(stored, quantization, base)
    if quantization is not None:
        note_once(dequantised_note(stored, tensors, quantization.method, base))
    if (directory / ADAPTER_CONFIG).is_file():
        note_once(
            f"base {base!r} has a LoRA in its directory ({ADAPTER_CONFIG}), which is left out: the "
            "base alone is loaded; merge the LoRA into a copy of it if both are wanted"
        )
    if not any((directory / name).is_file() for name in TOKENIZERS):
        raise BaseModelError(
            f"base directory {str(directory)!r} has no tokenizer.json, nor a tokenizer.model"
        )
