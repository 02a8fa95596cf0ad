"""The precisions in which a frozen base can be held, and what goes with them. Free of torch.

    none   the base's dtype
    nf4    4 bits: one of 16 quantiles of a normal distribution, a scale for 64 numbers (QLoRA)
    mxfp4  4 bits: one of 15 numbers, a power of two for 32 of them (gpt-oss; OCP Microscaling)
    int8   whole numbers up to 127, a scale for each row of outputs
    fp8    float8_e4m3fn, a scale for each row of outputs

`perft.models.quantise` does it.
"""

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from perft.adapter_folder import read_settings
from perft.checks import require_choice
from perft.errors import ConfigError

NONE = "none"
PRECISIONS = (NONE, "nf4", "mxfp4", "int8", "fp8")

_NEEDED = {"nf4": "bitsandbytes"}


def require_precision(quantize: str, *, compile: bool | None = None, workers: int = 1) -> None:
    """Refuses a precision that cannot be, before anything is loaded or started.

    Args:
        quantize: one of `PRECISIONS`.
        compile: whether the base is to be compiled; None for what can be.
        workers: processes that share the base.

    Raises:
        ConfigError: if there is no such precision, its library is missing, or it does not go with
            the rest; says what to do.
    """
    require_choice("quantize", quantize, PRECISIONS)
    if quantize == NONE:
        return
    library = _NEEDED.get(quantize)
    if library is not None and importlib.util.find_spec(library) is None:
        raise ConfigError(
            f"--quantize {quantize} needs {library}: python -m pip install 'perft[quantize]'; "
            "mxfp4, int8 and fp8 need nothing more"
        )
    if compile:
        raise ConfigError(
            f"--quantize {quantize} runs the base uncompiled, since its weights are dequantised "
            "when they are read; leave out --compile"
        )
    if workers > 1:
        raise ConfigError(
            f"--quantize {quantize} is for a base on one GPU: packed weights are not sharded; "
            f"found {workers} workers per group, which can share the base as it is, without "
            "--quantize"
        )


def notes_on_precision(folders: Iterable[Path], quantize: str) -> Iterator[str]:
    """Notes for the user on adapters that were trained on a base of another precision.

    Args:
        folders: the adapters'.
        quantize: the precision of the base that they run on.
    """
    for folder in folders:
        trained = read_settings(folder)["perft"].get("quantize", NONE)
        if trained != quantize:
            base = "a base that is not quantised" if trained == NONE else f"a base in {trained}"
            yield f"note: {folder} was trained on {base}: --quantize {trained} takes such a one"
