"""Merges a LoRA adapter into its base: a checkpoint of transformers that needs no perft."""

import json
from pathlib import Path
from typing import Annotated

import typer

from perft.adapter_folder import base_of, read_settings
from perft.config import AdapterConfig, adapter_from_flat
from perft.errors import AdapterError, ConfigError
from perft.files import local_folder
from perft.models.source import BUILTIN_NAMES, base_directory, check_base
from perft.models.weight_files import CONFIG
from perft.options import Dtype, JsonOption, QuietOption
from perft.screen import Output


def main(
    *,
    adapter: Annotated[Path, typer.Option(help="Folder of a LoRA adapter.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    base_model: Annotated[
        str | None,
        typer.Option(help="Base: a hub id or a local directory.", show_default="the adapter's"),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Dtype of the weights; auto is that of the base's files.")
    ] = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Merge a LoRA adapter into the weights of its base, for vLLM or transformers.

    The base is loaded whole into this machine's memory, and no GPU is used. PERFT variants change
    no weight of the base and cannot be merged.

    Examples:
      perft merge --adapter adapter --out merged
      perft merge --adapter adapter --base-model path/to/base --out merged
    """
    output = Output(as_json=as_json, quiet=quiet)
    settings = read_settings(adapter)
    named = base_model or base_of(settings, adapter)
    base = None if named in BUILTIN_NAMES else named
    check_base(base)
    config = _config_of(settings["perft"]["adapter"], adapter)
    out = local_folder(out)

    # Imported late: a mistake in the options shows at once, before torch is loaded.
    from perft.checkpoint import load_adapter  # noqa: PLC0415
    from perft.checkpoint.merged import require_new, save_merged  # noqa: PLC0415
    from perft.injection.merging import require_mergeable  # noqa: PLC0415
    from perft.models.load import load_base  # noqa: PLC0415

    require_mergeable(config)
    require_new(out)
    stored = _dtype_of(base_directory(base)) if dtype == "auto" else dtype
    output.say(f"loading the base {named} in {stored} ...")
    loaded = load_base(base, dtype=stored, compile=False)
    save_merged(loaded, load_adapter(loaded.model, adapter), "adapter", out)
    output.document(
        {"folder": str(out), "base": named, "dtype": stored, "config": config.to_flat()}
    )
    output.last(f"{named} with the adapter {adapter} merged, in {stored}, is in {out}")


def _config_of(flat: dict[str, object], folder: Path) -> AdapterConfig:
    try:
        return adapter_from_flat(flat)
    except ConfigError as error:
        raise AdapterError(f"the adapter folder {folder} is damaged: {error}") from error


def _dtype_of(directory: Path) -> str:
    """The dtype of a base's files, by its `config.json`; bf16 where they are quantised."""
    config = json.loads((directory / CONFIG).read_text("utf-8"))
    text = config.get("text_config") or {}
    found = [part.get(key) for part in (config, text) for key in ("dtype", "torch_dtype")]
    dtype = str(next(filter(None, found), "bfloat16"))
    return dtype if dtype in ("float32", "bfloat16", "float16", "float64") else "bfloat16"
