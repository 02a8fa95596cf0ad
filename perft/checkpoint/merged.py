"""Writes a base with a merged adapter as a checkpoint of transformers, which needs no perft.

The folder appears whole or not at all.
"""

import tempfile
from pathlib import Path

from perft.compat.transformers import forget_stored_form
from perft.errors import StorageError
from perft.files import parse_json, read_file
from perft.injection import AdapterHost
from perft.injection.merging import merge_into_base
from perft.models.load import Base
from perft.models.quantization import quantization_of
from perft.models.quiet import quiet
from perft.models.weight_files import CONFIG


def require_new(out: Path) -> None:
    """Checks that a checkpoint can be written to a folder.

    Raises:
        StorageError: if something is there.
    """
    try:
        if out.exists() and any(out.iterdir()):
            raise StorageError(f"{out} is not empty; choose an empty or new folder")
    except NotADirectoryError as error:
        raise StorageError(f"{out} is a file; choose an empty or new folder") from error


def save_merged(base: Base, host: AdapterHost, name: str, out: Path) -> None:
    """Merges an adapter into its base and writes weights, configuration and tokenizer.

    Args:
        base: loaded whole on this process; it keeps the merged weights.
        host: the adapters on it.
        name: the adapter.
        out: the folder, missing or empty.

    Raises:
        AdapterError: if the adapter's variant cannot be merged.
        StorageError: if something is in the folder, or it cannot be written.
    """
    require_new(out)
    merge_into_base(host, name)
    if quantization_of(parse_json(read_file(base.directory / CONFIG)), base.name) is not None:
        forget_stored_form(base.model)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
            fresh = Path(beside) / "new"
            with quiet():
                base.model.save_pretrained(fresh)
                base.tokenizer.save_pretrained(fresh)
            fresh.rename(out)
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error}; choose another folder") from error
