"""The folder of an adapter, as far as it can be read without torch.

`adapter_config.json` is HF PEFT's: it alone says how `peft` loads `adapter_model.safetensors`. What
perft adds is one block, `perft`: the adapter's configuration and where it comes from. Of the type
PERFT the block is a field; LoRA's configuration has no room for it, so that it lies beside, in
`perft.json`, and `peft` finds a plain LoRA folder.
"""

import json
from pathlib import Path
from typing import Any

from perft.errors import AdapterError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
BLOCK = "perft.json"
PERFT = "PERFT"
"""The `peft_type` of the adapters that `peft` learns from `perft.hf_peft`."""


def read_settings(folder: str | Path) -> dict[str, Any]:
    """Reads `adapter_config.json`, with the block `perft` in it wherever that was found.

    The block has an `adapter`, the flat configuration, and from a search also `base_fingerprint`
    and `trained_on`.

    Raises:
        AdapterError: if a file is missing or damaged, or the folder was not written by perft.
    """
    folder = Path(folder)
    settings = _read_object(folder, CONFIG)
    if settings.get("peft_type") != PERFT:
        if not (folder / BLOCK).is_file():
            raise AdapterError(
                f"{folder / CONFIG} was not written by perft: its peft_type is "
                f"{settings.get('peft_type')!r} and there is no {BLOCK} beside it; load it with "
                "peft, or export it from perft again"
            )
        settings["perft"] = _read_object(folder, BLOCK)
    block = settings.get("perft")
    if not (isinstance(block, dict) and isinstance(block.get("adapter"), dict)):
        raise AdapterError(
            f"{folder / CONFIG} was not written by perft: it has no adapter under the key 'perft'"
        )
    return settings


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise AdapterError(f"{folder} is no adapter folder: it has no {name}") from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {name}: {error}") from error
    if not isinstance(found, dict):
        raise AdapterError(f"the adapter folder {folder} is damaged: {name} is no JSON object")
    return found
