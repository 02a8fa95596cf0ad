"""A cache of token rows on disk: written once, then mapped read-only by every process.

A folder under `$PERFT_HOME/tokens` is named by a hash of all that determines its rows: the texts,
template included, the tokenizer, the length and the kind of loss. It holds one Arrow file with a
row for each example, longest first, so that rows scored together lie together. Folders may be
deleted at any time; they are made again.

Invariant: a folder is whole or missing, even if its writer is killed; one process makes it while
the others of its machine wait.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from filelock import FileLock
from rich.console import Console

from perft.errors import StorageError
from perft.home import home
from perft.tasks.task import Example
from perft.tasks.tokenize import TokenizedSplit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "rows.arrow"
_VERSION = 2  # of `tokenize` and of the file; a new one invalidates all folders


def cached_rows(
    examples: Sequence[Example],
    tokenizer_fingerprint: str,
    make: Callable[[], TokenizedSplit],
    **settings: int | str,
) -> TokenizedSplit:
    """The rows of `make`, mapped from disk if any process made them before.

    Args:
        examples: the examples of the rows.
        tokenizer_fingerprint: the tokenizer's `fingerprint_of`.
        make: makes the rows.
        **settings: everything else that determines the rows, by name.

    Raises:
        StorageError: if the folder cannot be written.
    """
    digest = hashlib.sha256(json.dumps([_VERSION, tokenizer_fingerprint, settings]).encode())
    for example in examples:
        digest.update(json.dumps(_texts(example)).encode())
    folder = home() / "tokens" / digest.hexdigest()
    try:
        if not (folder / FILE).is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not (folder / FILE).is_file():
                    _make(make, len(examples), folder)
        return _mapped(folder / FILE)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"cannot keep token rows in {folder}: {error}; delete that folder, or set PERFT_HOME "
            "to a folder that can be written"
        ) from error


def _texts(example: Example) -> list[str | bool]:
    return [example.prompt, *example.pair, *[True] * example.is_rendered]


def fingerprint_of(tokenizer: "PreTrainedTokenizerBase") -> str:
    """A hash of a Hugging Face tokenizer that differs if it makes different ids of any text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        about = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
        about += [repr(sorted(tokenizer.init_kwargs.items(), key=lambda item: item[0]))]
    else:
        # Padding and truncation are those of the last call, not of the tokenizer.
        settings = json.loads(backend.to_str())
        about = [settings | {"padding": None, "truncation": None}]
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    return hashlib.sha256(json.dumps([about, ids], sort_keys=True).encode()).hexdigest()


def _make(make: Callable[[], TokenizedSplit], count: int, folder: Path) -> None:
    with Console(stderr=True).status(f"tokenising {count:,} examples, this once"):
        _write(make(), folder)


def _write(rows: TokenizedSplit, folder: Path) -> None:
    """Writes the rows to a temporary folder, then renames it."""
    order = np.argsort(-rows.lengths, kind="stable").astype(np.int32)
    ids = [rows.row(index)[0] for index in order]
    offsets = np.concatenate(([0], np.cumsum(rows.lengths[order], dtype=np.int64)))
    flat = np.concatenate(ids) if ids else rows.ids
    table = pa.record_batch(
        {
            "example": order,
            "prompt_length": rows.prompt_lengths[order],
            "ids": pa.LargeListArray.from_arrays(offsets, flat),
        }
    ).replace_schema_metadata({"truncated": str(rows.truncated)})
    beside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp")
    beside.mkdir()
    try:
        with pa.ipc.new_file(beside / FILE, table.schema) as writer:
            writer.write_batch(table)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _mapped(file: Path) -> TokenizedSplit:
    reader = pa.ipc.open_file(pa.memory_map(str(file)))
    batch = reader.get_batch(0)
    # By way of DLPack, since Arrow's own way imports pandas.
    order, ids = np.from_dlpack(batch["example"]), batch["ids"]
    offsets = np.from_dlpack(ids.offsets)
    starts, lengths, prompt_lengths = (np.empty(len(order), kind) for kind in ("i8", "i4", "i4"))
    starts[order], lengths[order] = offsets[:-1], np.diff(offsets)
    prompt_lengths[order] = np.from_dlpack(batch["prompt_length"])
    return TokenizedSplit(
        ids=np.from_dlpack(ids.values).astype(np.int32, copy=False),
        starts=starts,
        lengths=lengths,
        prompt_lengths=prompt_lengths,
        truncated=int(reader.schema.metadata[b"truncated"]),
    )
