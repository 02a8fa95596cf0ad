"""Files of a search, on a local disk or a remote store, behind one small door."""

from perft.storage.faults import free_in
from perft.storage.folder import is_whole, read_folder, seal_folder, write_folder
from perft.storage.storage import Storage

__all__ = ["Storage", "free_in", "is_whole", "read_folder", "seal_folder", "write_folder"]
