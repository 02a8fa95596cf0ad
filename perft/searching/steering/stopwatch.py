"""How long a search has run, over all its processes: kept in its folder."""

import dataclasses
import json
import time
from collections.abc import Callable

from perft.config.typed import read_fields
from perft.search_folder import TIME_FILE
from perft.searching.steering.budget import Spent
from perft.selection import read_record
from perft.storage import Storage

KEEP_SECONDS = 15.0
"""How often the time is written: a search that is killed loses no more of it."""


def read_spent(search: Storage) -> Spent:
    """What a search has used by its last note; nothing if it has noted nothing.

    Raises:
        StorageError: if the folder cannot be read.
        DamagedError: if the file is damaged.
    """
    if not search.exists(TIME_FILE):
        return Spent()
    return read_record(search, TIME_FILE, lambda value: read_fields(Spent, value))


class Stopwatch:
    """Runs from when it is made, and goes on from what earlier processes have noted.

    Args:
        search: the search's folder.
        gpus: GPUs of the worker groups.
        clock: returns steady seconds.

    Attributes:
        gpus: GPUs of the worker groups.

    Raises:
        StorageError: if the folder cannot be read.
    """

    def __init__(
        self, search: Storage, gpus: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._search, self._clock = search, clock
        self.gpus = gpus
        self._before = read_spent(search)
        self._started = self._kept = clock()

    @property
    def spent(self) -> Spent:
        """What the search has used until now."""
        seconds = self._clock() - self._started
        return Spent(
            seconds=self._before.seconds + seconds,
            gpu_seconds=self._before.gpu_seconds + seconds * self.gpus,
        )

    def keep(self, *, now: bool = False) -> None:
        """Notes the time in the folder, but not oftener than every `KEEP_SECONDS` unless `now`.

        Raises:
            StorageError: if it cannot be written.
        """
        if now or self._clock() - self._kept >= KEEP_SECONDS:
            self._kept = self._clock()
            self._search.write(TIME_FILE, json.dumps(dataclasses.asdict(self.spent)).encode())
