"""Fetches a base of the hub: its `config.json` first, then only the files that are read."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from perft.errors import BaseModelError, first_line
from perft.masking import masked
from perft.models.weight_files import CONFIG, INDEX, SMALL_FILES, WEIGHTS, index_of


def hub_config(base: str) -> Path:
    """The `config.json` of a hub id, in the hub's cache.

    Raises:
        BaseModelError: if it is no hub id, or cannot be fetched.
    """
    return _fetch(base, lambda: hf_hub_download(base, CONFIG))


def hub_small_files(base: str) -> Path:
    """The directory in the hub's cache with all files of a hub id that are read, but its weights.

    Raises:
        BaseModelError: if it is no hub id, or cannot be fetched.
    """
    return _fetch(base, lambda: snapshot_download(base, allow_patterns=list(SMALL_FILES)))


def hub_snapshot(base: str) -> Path:
    """The directory in the hub's cache with the files of a hub id that are read.

    Repositories may hold the same weights in several forms and dtypes: only the weight files that
    the index names are fetched, or the single one.

    Raises:
        BaseModelError: if it is no hub id, or cannot be fetched.
    """
    directory = hub_small_files(base)
    names = (
        sorted(set(index_of(directory).values())) if (directory / INDEX).is_file() else [WEIGHTS]
    )
    # The directory's name is the revision: the same, whatever is uploaded meanwhile.
    return _fetch(
        base,
        lambda: snapshot_download(base, revision=directory.name, allow_patterns=names),
    )


def _fetch(base: str, download: Callable[[], str]) -> Path:
    nowhere = BaseModelError(f"base {base!r} is neither a directory here nor a hub id (owner/name)")
    if "/" not in base:  # the hub has no MoE without an owner, and is slow to say so
        raise nowhere
    try:
        return Path(download())
    except HFValidationError:
        raise nowhere from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BaseModelError(
            f"base {base!r} is not a directory here and could not be fetched from the hub: "
            f"{masked(first_line(error))}; give an existing directory, or a hub id that this "
            "machine can reach"
        ) from None
