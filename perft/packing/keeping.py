"""Writes a group's results so that a worker may die at any moment."""

from collections.abc import Sequence

from perft.packing.beginning import Beginning
from perft.packing.messages import Assignment
from perft.packing.states import SavedStates
from perft.ranks import Ranks
from perft.search_folder import adapter_folder, trial_folder
from perft.storage import is_whole, write_folder
from perft.tasks import TaskSource
from perft.training.pack import Pack


class Keeper:
    """Writes states and adapters of the trials on the base; rank 0 writes.

    Args:
        pack: the base and the trials on it.
        ranks: the group's processes.
        states: the files of the trials.
        beginning: knows from which of them the batch started.
        source: where the task comes from; adapters record it.
    """

    def __init__(
        self,
        pack: Pack,
        ranks: Ranks,
        states: SavedStates,
        beginning: Beginning,
        source: TaskSource,
    ) -> None:
        self._pack = pack
        self._ranks = ranks
        self._storage = states.storage
        self._states = states
        self._beginning = beginning
        self._source = source

    def commit(self, batch: Sequence[Assignment]) -> None:
        """Writes the states of a batch; until all are written, the previous ones are valid.

        Raises:
            StorageError: on every rank, if they cannot be written.
        """
        self._ranks.on_first(lambda: self._write(batch))
        for wanted in batch:
            if not self._pack.running[trial_folder(wanted.trial)].failure:
                self._beginning.written(wanted.trial)

    def require_adapter(self, trial: int) -> None:
        """Rewrites the adapter of a full-length trial if its files are incomplete.

        Raises:
            StorageError: on every rank, if it can neither be read nor written.
        """
        self._ranks.on_first(lambda: self._mend(trial))

    def _write(self, batch: Sequence[Assignment]) -> None:
        for wanted in batch:
            name = trial_folder(wanted.trial)
            running = self._pack.running[name]
            if running.failure:
                self._states.write_failure(wanted, running.failure)
                continue
            if running.is_full_length:
                self._write_adapter(wanted.trial)
            turn = self._beginning.next_turn(wanted.trial)
            self._states.write(wanted.trial, turn, self._pack.state(name))

    def _mend(self, trial: int) -> None:
        folder = adapter_folder(trial)
        if not is_whole(self._storage, folder):
            self._states.say(f"{self._storage.shown}/{folder} was not whole, and is written again")
            self._write_adapter(trial)

    def _write_adapter(self, trial: int) -> None:
        files = self._pack.adapter(trial_folder(trial), self._source)
        write_folder(self._storage, adapter_folder(trial), files)
