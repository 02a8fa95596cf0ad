"""Where Ray keeps its own records of a search, which perft never reads."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from perft.storage import Storage


def ray_folder(search: Storage) -> Path:
    """The search's folder; for one in an object store, a temporary one on this machine.

    Ray writes many small files and gives up at the first error of a store.
    """
    return search.folder or _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="perft-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
