"""The files of a base that are read, and the headers of its weights. Free of torch.

Only the files named here are downloaded, checked and loaded. Checks read only headers, so that
100 GB take the time of a few small files.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from perft.errors import BaseModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model")
"""A tokenizer is in one of these."""
SMALL_FILES = (
    CONFIG, INDEX, "generation_config.json", *TOKENIZERS, "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
"""All files that are read, except the weights; not every base has each."""

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Bits of a number, by the safetensors dtypes that are read."""

_LENGTH = 8  # bytes that say how long the header is
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors library
_NOT_WEIGHTS = {
    b"version https://git-lfs": "a git-lfs pointer in place of the file; run git lfs pull there",
    b"<": "a web page, saved in place of the file; download it again",
    b"PK\x03\x04": "a pickled PyTorch file by another name; get the base's safetensors files",
    b"\x80\x02": "a pickled PyTorch file by another name; get the base's safetensors files",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a header: its safetensors dtype and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def weight_files(directory: Path) -> list[str]:
    """Names of a base's weight files; a single file is preferred, as in transformers.

    Raises:
        BaseModelError: if one is missing, or the index cannot be used.
    """
    names = [WEIGHTS]
    if not (directory / WEIGHTS).is_file() and (directory / INDEX).is_file():
        names = sorted(set(index_of(directory).values()))
    for name in names:
        if not (directory / name).is_file():
            raise BaseModelError(
                f"base directory {str(directory)!r} has no weights: {name} is missing "
                "(only safetensors files are read, pickled weights are refused)"
            )
    return names


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a base's weights, by name.

    Raises:
        BaseModelError: if a file is missing, no safetensors file, or cut short, or if the index
            names a tensor that is not in its file.
    """
    names = weight_files(directory)
    by_file = {name: read_header(directory / name) for name in names}
    if names != [WEIGHTS]:
        for tensor, name in index_of(directory).items():
            if tensor not in by_file[name]:
                raise BaseModelError(
                    f"{directory / INDEX} names the tensor {tensor} in {name}, which does not "
                    "have it; index and files are of different downloads, get them again"
                )
    return {tensor: stored for header in by_file.values() for tensor, stored in header.items()}


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file, without reading them.

    Raises:
        BaseModelError: if it is not a safetensors file, or not whole.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            header = _header(file, stream.read(_LENGTH), size, stream)
    except OSError as error:
        raise _refusal(file, f"cannot be read ({error.strerror})") from None
    try:
        content = json.loads(header)
        content.pop("__metadata__", None)
        found = {name: _stored(about) for name, about in content.items()}
        end = max((about["data_offsets"][1] for about in content.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refusal(
            file, f"is damaged: its header makes no sense ({error!r}); download it again"
        ) from None
    whole = _LENGTH + len(header) + end
    if size != whole:
        how = "is cut short" if size < whole else "is longer than its header says"
        raise _refusal(
            file, f"{how}: it has {size:,} bytes, should have {whole:,}; download it again"
        )
    return found


@contextmanager
def linked_files(directory: Path) -> Iterator[str]:
    """Makes a temporary folder with links to the files that are read, and to no others.

    Libraries also load other files that they find, such as a LoRA beside the base.
    """
    with linked_small_files(directory) as folder:
        for name in weight_files(directory):
            (Path(folder) / name).symlink_to((directory / name).resolve())
        if (Path(folder) / WEIGHTS).exists():
            (Path(folder) / INDEX).unlink(missing_ok=True)
        yield folder


@contextmanager
def linked_small_files(directory: Path) -> Iterator[str]:
    """The same without weights, which need not be there."""
    with tempfile.TemporaryDirectory(prefix="perft-base-") as folder:
        for name in SMALL_FILES:
            if (directory / name).is_file():
                (Path(folder) / name).symlink_to((directory / name).resolve())
        yield folder


def bytes_of(tensors: Sequence[StoredTensor]) -> int:
    """Bytes of tensors on disk."""
    return sum(tensor.numbers * BITS[tensor.dtype] // 8 for tensor in tensors)


def index_of(directory: Path) -> dict[str, str]:
    """The file of each tensor, from the index.

    Raises:
        BaseModelError: if the index is damaged, or names a file that is not read.
    """
    path = directory / INDEX
    try:
        found: Any = json.loads(path.read_text("utf-8"))["weight_map"]
        names = set(found.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BaseModelError(f"{path} is damaged: {error!r}; download it again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise BaseModelError(f"{path} names {name!r}, which is no file of its own folder")
        if not name.endswith(".safetensors"):
            raise BaseModelError(
                f"{path} names {name!r}: only safetensors files are read, pickled weights are "
                "refused"
            )
    if not names:
        raise BaseModelError(f"{path} is damaged: it names no file; download it again")
    return dict(found)


def _header(file: Path, start: bytes, size: int, stream: BinaryIO) -> bytes:
    """The header, whose length the first bytes tell."""
    if not size:
        raise _refusal(file, "is empty; download it again")
    length = int.from_bytes(start, "little")
    header = stream.read(min(length, _LARGEST_HEADER))
    first = (start + header[:64]).lstrip()
    for sign, what in _NOT_WEIGHTS.items():
        if first.startswith(sign):
            raise _refusal(file, f"is {what}")
    if len(start) < _LENGTH or length > _LARGEST_HEADER:
        raise _refusal(file, "is not a safetensors file; download it again")
    if len(header) < length:
        raise _refusal(
            file,
            f"is cut short: it has {size:,} bytes, its header alone should have {length:,}; "
            "download it again",
        )
    return header


def _refusal(file: Path, what: str) -> BaseModelError:
    return BaseModelError(f"base {str(file.parent)!r} cannot be loaded: {file.name} {what}")


def _stored(about: Any) -> StoredTensor:
    found = StoredTensor(about["dtype"], tuple(about["shape"]))
    start, end = about["data_offsets"]
    if not all(type(size) is int and size >= 0 for size in (*found.shape, start, end)):
        raise ValueError("a size is no number from 0 on")
    if found.dtype not in BITS:
        raise ValueError(f"a tensor is of dtype {found.dtype!r}")
    if (end - start) * 8 != found.numbers * BITS[found.dtype]:
        raise ValueError(f"a tensor of shape {list(found.shape)} has {end - start} bytes")
    return found
