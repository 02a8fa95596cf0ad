"""Snapshots of batches in training, for when a machine is about to be taken.

Trials' states are written at the end of a round, which takes long on a large base (`states.py`). A
snapshot has the states of a whole batch between two steps. Only the batch of which it was taken
resumes from it: the same trials, from the same steps to the same targets. They then take the same
steps together that they would have taken, so a snapshot changes no result, to the last bit. It
stands beside the two states of a trial, and is deleted when those of its batch are written.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence

from perft.checkpoint import from_bytes
from perft.errors import DamagedError, StorageError
from perft.packing.messages import Assignment
from perft.packing.states import SavedStates
from perft.ranks import Ranks
from perft.search_folder import snapshot_folder, snapshots_of, trial_folder
from perft.storage import read_whole_folder, write_folder
from perft.training.pack import Pack

AGAIN_SECONDS = 30.0
"""Shortest time between two snapshots: a warned machine may train on for long."""

AGAIN_RATIO = 4.0
"""Shortest time between two snapshots, in times that the first one took to write."""


def batch_id(batch: Sequence[Assignment], steps: Mapping[int, int]) -> str:
    """Identifies a batch, in its order, and the steps from which it trains.

    Args:
        batch: the assignments.
        steps: by trial, the steps it has done when the batch starts.

    Returns:
        32 hexadecimal digits.
    """
    told = [
        {
            "trial": wanted.trial,
            "config": wanted.config.to_flat(),
            "origin": vars(wanted.origin) if wanted.origin else None,
            "start": steps[wanted.trial],
            "target": wanted.target,
        }
        for wanted in batch
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


class Snapshots:
    """Takes snapshots of a group's batch when Ray warns, and resumes from them.

    Rank 0 decides and writes alone: it has the states of all trials, and the other ranks wait for
    it in their next step. So they need not agree on when a warning came.

    Args:
        pack: the base and the trials on it.
        ranks: the group's processes.
        states: the files of the trials.
        warned: the machines of the group that are about to be taken; asked after every step.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        pack: Pack,
        ranks: Ranks,
        states: SavedStates,
        warned: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pack = pack
        self._ranks = ranks
        self._storage = states.storage
        self._say = states.say
        self._warned = warned
        self._clock = clock
        self._starts: dict[str, int] = {}  # by name of a trial, the step at which the batch starts
        self._id = ""
        self._is_there = False
        self._next = 0.0
        self._said: Sequence[str] = ()

    def resume(self, batch: Sequence[Assignment]) -> None:
        """Puts the trials of a batch, which are on the base, into their last whole snapshot.

        Without one they stay as they are. All ranks call it before they train the batch.

        Raises:
            StorageError: on every rank, if the storage cannot be read.
        """
        steps = {w.trial: self._pack.running[trial_folder(w.trial)].step for w in batch}
        self._starts = {trial_folder(trial): step for trial, step in steps.items()}
        self._id, self._is_there = batch_id(batch, steps), False
        files: dict[str, bytes] = {}
        if not self._ranks.on_first(lambda: self._find(batch, files)):
            return
        for wanted in batch:
            name = trial_folder(wanted.trial)
            state, failure = self._ranks.broadcast(
                (files.get(_state(name), b""), files.get(_failure(name), b""))
            )
            self._pack.release(name)
            self._pack.admit(name, wanted.config, state)
            self._pack.running[name].failure = failure.decode()
        self._say(f"a worker group resumes with {self._shown}, kept before a machine was taken")

    def take_if_warned(self) -> bool:
        """Writes a snapshot if a machine is about to be taken; called between two steps.

        A storage that cannot be written costs the snapshot only: the round's end tells.

        Returns:
            Whether one was written.
        """
        if self._ranks.rank != 0 or not (machines := self._warned()):
            return False
        begin = self._clock()
        if begin < self._next:
            return False
        is_kept = self._write_for(machines)
        end = self._clock()
        self._next = end + max(AGAIN_SECONDS, AGAIN_RATIO * (end - begin))
        return is_kept

    def delete(self) -> None:
        """Deletes the snapshots of the batch, whose states are written; one may be left over."""
        if self._is_there and self._ranks.rank == 0:
            with contextlib.suppress(StorageError):
                self._storage.delete(snapshots_of(self._id))

    @property
    def _steps(self) -> int:
        """Steps that the batch has taken; a trial that has failed takes no more."""
        return max(self._pack.running[name].step - start for name, start in self._starts.items())

    @property
    def _shown(self) -> str:
        count = len(self._starts)
        return (
            f"{'1 trial' if count == 1 else f'{count} trials'} at step {self._steps} of their round"
        )

    def _find(self, batch: Sequence[Assignment], files: dict[str, bytes]) -> bool:
        """Reads the last whole snapshot of the batch into `files`; false if there is none."""
        there = self._storage.names(snapshots_of(self._id))
        self._is_there = bool(there)
        for steps in reversed(there):
            folder = f"{snapshots_of(self._id)}/{steps}"
            if found := self._read(folder, batch):
                files.update(found)
                return True
            self._say(
                f"the snapshot {self._storage.shown}/{folder} is not whole, and is ignored: its "
                "trials are trained again"
            )
        return False

    def _read(self, folder: str, batch: Sequence[Assignment]) -> Mapping[str, bytes]:
        """The files of a snapshot; empty if it cannot be used."""
        try:
            found = read_whole_folder(self._storage, folder)
        except DamagedError:
            return {}
        try:
            states = [from_bytes(found[_state(trial_folder(wanted.trial))]) for wanted in batch]
        except (KeyError, StorageError):
            return {}
        is_same = all(s.config == w.config for s, w in zip(states, batch, strict=True))
        return found if is_same else {}

    def _write_for(self, machines: Sequence[str]) -> bool:
        """Writes a snapshot and tells of it; whether that was possible."""
        try:
            self._write()
        except StorageError as error:
            self._tell(machines, f"the states of its trials cannot be kept: {error}")
            return False
        self._tell(machines, f"the state of {self._shown} is kept")
        return True

    def _write(self) -> None:
        """Writes a snapshot, then deletes the earlier ones, which are valid until then."""
        files: dict[str, bytes] = {}
        for name in self._starts:
            files[_state(name)] = self._pack.state(name)
            if failure := self._pack.running[name].failure:
                files[_failure(name)] = failure.encode()
        folder = snapshot_folder(self._id, self._steps)
        before = [
            f"{snapshots_of(self._id)}/{n}" for n in self._storage.names(snapshots_of(self._id))
        ]
        self._is_there = True
        write_folder(self._storage, folder, files)
        for earlier in before:
            if earlier != folder:
                self._storage.delete(earlier)

    def _tell(self, machines: Sequence[str], what: str) -> None:
        """Tells the user of a warning once, however often its snapshot is renewed."""
        if machines != self._said:
            self._said = machines
            is_one = len(machines) == 1
            who = f"machine {machines[0]} is" if is_one else f"machines {', '.join(machines)} are"
            self._say(f"{who} about to be taken: {what}")


def _state(name: str) -> str:
    return f"{name}.safetensors"


def _failure(name: str) -> str:
    return f"{name}.failed.txt"
