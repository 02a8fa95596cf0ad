"""Puts the trials of a batch on the base, each in the state from which it resumes."""

from collections.abc import Sequence

from perft.checkpoint import from_bytes
from perft.errors import PerftError
from perft.packing.messages import Assignment
from perft.packing.states import RoundStart, Saved, SavedStates, starts
from perft.ranks import Ranks
from perft.search_folder import trial_folder
from perft.training.pack import Pack
from perft.trial import Origin, TrialConfig


class Beginning:
    """Prepares the base for a group's batch; all ranks make the same calls.

    Args:
        pack: the base and the trials on it.
        ranks: the group's processes; rank 0 reads.
        states: the files of the trials.
    """

    def __init__(self, pack: Pack, ranks: Ranks, states: SavedStates) -> None:
        self._pack = pack
        self._ranks = ranks
        self._states = states
        self._turns: dict[int, int] = {}  # by trial on the base, the file of its state

    def begin(self, batch: Sequence[Assignment]) -> tuple[dict[int, RoundStart], dict[int, str]]:
        """Puts the trials on the base.

        Returns:
            By trial, the state from which it resumes; and, by refused trial, the reason.

        Raises:
            StorageError: if the storage cannot be read.
        """
        refused: dict[int, str] = {}
        known = self._known(batch)
        for wanted in batch:
            try:
                if not known[wanted.trial]:
                    self._put(wanted, None)
                    known[wanted.trial] += self._on_base(wanted)
            except PerftError as error:
                refused[wanted.trial] = str(error)
        batch = [wanted for wanted in batch if wanted.trial not in refused]
        found = starts(batch, known, together=not self._pack.has_fixed_shapes)
        for wanted in batch:
            state = found[wanted.trial].state
            if state is None or not (state.on_base or state.failure):
                self._put(wanted, state.turn if state else None)
        return found, refused

    def next_turn(self, trial: int) -> int:
        """The file for a trial's next state: the one from which the round did not start."""
        return 1 - self._turns.get(trial, 1)

    def written(self, trial: int) -> None:
        """Notes that the trial's state was written to the file that `next_turn` named."""
        self._turns[trial] = self.next_turn(trial)

    def _known(self, batch: Sequence[Assignment]) -> dict[int, list[Saved]]:
        """The states of trials; reads files only for those that the base does not have."""
        known = {wanted.trial: self._on_base(wanted) for wanted in batch}

        def lacks(wanted: Assignment, *, answer_will_do: bool) -> bool:
            return not any(
                state.step == wanted.reached or (answer_will_do and state.answers(wanted))
                for state in known[wanted.trial]
            )

        looked = [wanted for wanted in batch if lacks(wanted, answer_will_do=True)]
        self._look(looked, known)
        if all(any(s.answers(wanted) for s in known[wanted.trial]) for wanted in batch):
            return known
        more = [w for w in batch if w not in looked and lacks(w, answer_will_do=False)]
        self._look(more, known)
        return known

    def _look(self, batch: Sequence[Assignment], known: dict[int, list[Saved]]) -> None:
        if batch:
            for trial, states in self._ranks.on_first(lambda: self._states.of(batch)).items():
                known[trial] += states

    def _on_base(self, wanted: Assignment) -> list[Saved]:
        running = self._pack.running.get(trial_folder(wanted.trial))
        if running is None:
            return []
        turn = self._turns.get(wanted.trial)
        if running.failure:  # in this round
            return [Saved(wanted.reached, on_base=True, failure=running.failure)]
        reported = frozenset(report.step for report in running.reports)
        return [Saved(running.step, reported, turn, on_base=True)]

    def _put(self, wanted: Assignment, turn: int | None) -> None:
        """Puts a trial on the base, from its file `turn`; for None, from where it comes from."""
        trial, name = wanted.trial, trial_folder(wanted.trial)
        self._pack.release(name)
        self._turns.pop(trial, None)
        if turn is None:
            self._put_new(name, wanted.config, wanted.origin)
            return
        data = self._ranks.on_first(lambda: self._states.read(trial, turn))
        self._pack.admit(name, wanted.config, data)
        self._turns[trial] = turn

    def _put_new(self, name: str, config: TrialConfig, origin: Origin | None) -> None:
        """Puts a new trial on the base: from its seed, or from the state of another trial."""
        if origin is None or origin.trial is None or origin.step == 0:
            self._pack.admit(name, config)
            return
        other, step = origin.trial, origin.step
        data = self._ranks.on_first(lambda: self._states.at(other, step))
        if origin.kind == "continue":
            self._pack.admit(name, config, data)
        else:
            self._pack.admit(name, config, adapter=from_bytes(data).adapter)
