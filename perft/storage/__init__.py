"""Stores the files of a search, on a local disk or in an object store."""

from perft.storage.faults import free_space_in
from perft.storage.folder import (
    is_whole,
    read_folder,
    read_whole_folder,
    seal_folder,
    write_folder,
)
from perft.storage.storage import Storage

__all__ = [
    "Storage",
    "free_space_in",
    "is_whole",
    "read_folder",
    "read_whole_folder",
    "seal_folder",
    "write_folder",
]
