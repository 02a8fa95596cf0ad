"""The saved states of trials, and which of them a batch resumes from.

The states after a trial's last two rounds are kept, in two files that are written alternately. So
all trials of a batch can be reset to the start of a round until the new states of all of them are
written: wherever a worker dies, its batch is trained again with the same trials from the same
steps, or not at all. Bit equality needs that, since the trials of a micro-batch may change each
other's rounding. No index of valid states exists that could be lost: a state records its own step.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from perft.checkpoint import from_bytes
from perft.config.typed import read_fields
from perft.errors import DamagedError, StorageError
from perft.files import parse_json
from perft.packing.messages import Assignment
from perft.search_folder import STATES, failure_file, trial_file
from perft.storage import Storage
from perft.trial import TrialConfig

TURNS = (0, 1)
"""The two files of a trial's states, written alternately."""


@dataclass(frozen=True)
class Saved:
    """A trial at some step: in a file, on the base, or both.

    Attributes:
        step: optimiser steps done.
        reported: steps at which it has reported.
        turn: its file; None for a new trial, which has none.
        on_base: whether it is on the base.
        failure: why it could not be trained beyond `step`; empty if it did not fail.
    """

    step: int
    reported: frozenset[int] = frozenset()
    turn: int | None = None
    on_base: bool = False
    failure: str = ""

    def answers(self, wanted: Assignment) -> bool:
        """Whether it answers the assignment without training."""
        if self.failure:
            return wanted.target > self.step
        return wanted.target in self.reported if wanted.due else self.step >= wanted.target


@dataclass(frozen=True)
class RoundStart:
    """The state from which a trial of a batch resumes.

    Attributes:
        state: None for a new trial, from its seed.
        is_answer: whether `state` answers the assignment without training.
    """

    state: Saved | None
    is_answer: bool = False


def starts(
    batch: Sequence[Assignment], known: Mapping[int, Sequence[Saved]], *, together: bool
) -> dict[int, RoundStart]:
    """Decides, by trial, the state from which a batch resumes.

    Args:
        batch: the assignments.
        known: the states of each trial, those on the base first.
        together: whether trials change each other's rounding. Then either all are answered from
            their states, or all are trained again from the start of the round.
    """
    answers = {
        wanted.trial: RoundStart(state, is_answer=True)
        for wanted in batch
        if (state := _answer(wanted, known[wanted.trial])) is not None
    }
    if len(answers) == len(batch):
        return answers
    at_round_start = {wanted.trial: _at(wanted.reached, known[wanted.trial]) for wanted in batch}
    whole = {trial: start for trial, start in at_round_start.items() if start is not None}
    if together and len(whole) == len(batch):
        return whole
    return {
        wanted.trial: answers.get(wanted.trial)
        or whole.get(wanted.trial)
        or _nearest(wanted, known[wanted.trial])
        for wanted in batch
    }


def _answer(wanted: Assignment, states: Sequence[Saved]) -> Saved | None:
    """The last state that answers the assignment: it serves the next assignment, too."""
    having = [state for state in states if state.answers(wanted)]
    return max(having, key=lambda s: (not s.failure, s.step, s.on_base), default=None)


def _at(step: int, states: Sequence[Saved]) -> RoundStart | None:
    found = next((s for s in states if s.step == step and not s.failure), None)
    return RoundStart(found) if found is not None or step == 0 else None


def _nearest(wanted: Assignment, states: Sequence[Saved]) -> RoundStart:
    """The last state before the target: used if that of the round's start is lost."""
    before = [state for state in states if state.step <= wanted.target and not state.failure]
    return RoundStart(max(before, key=lambda state: state.step, default=None))


class SavedStates:
    """The files of trials' states in a search's folder.

    Args:
        storage: the search's folder.
        say: called with a sentence about damage found.
    """

    def __init__(self, storage: Storage, say: Callable[[str], None]) -> None:
        self.storage = storage
        self.say = say

    def of(self, batch: Sequence[Assignment]) -> dict[int, list[Saved]]:
        """The states to resume from, by trial, without damaged ones and those of other trials.

        Raises:
            StorageError: when the storage cannot be read.
        """
        there = {f"{STATES}/{name}" for name in self.storage.names(STATES)}
        return {wanted.trial: self._of(wanted, there) for wanted in batch}

    def last(self, trial: int) -> bytes:
        """The trial's state with the most steps.

        Raises:
            StorageError: if it cannot be read or is damaged.
        """
        files = [file for turn in TURNS if self.storage.exists(file := trial_file(trial, turn))]
        states = [self.storage.read(file) for file in files or [trial_file(trial)]]
        return max(states, key=lambda data: from_bytes(data).step)

    def at(self, trial: int, step: int) -> bytes:
        """The trial's state after `step` steps.

        Raises:
            StorageError: if it is gone or damaged.
        """
        files = (trial_file(trial, turn) for turn in TURNS)
        for data in [self.storage.read(file) for file in files if self.storage.exists(file)]:
            with contextlib.suppress(DamagedError):
                if from_bytes(data).step == step:
                    return data
        raise StorageError(
            f"the state of trial {trial} after {step} steps is not in {self.storage.shown} any more"
        )

    def read(self, trial: int, turn: int) -> bytes:
        """The bytes of a state that `of` has found."""
        return self.storage.read(trial_file(trial, turn))

    def write(self, trial: int, turn: int, data: bytes) -> None:
        """Writes a state; the trial's other state stays."""
        self.storage.write(trial_file(trial, turn), data)

    def write_failure(self, wanted: Assignment, failure: str) -> None:
        """Writes that a trial cannot be trained beyond the start of the round."""
        note = _Note(config=wanted.config.to_flat(), step=wanted.reached, failure=failure)
        self.storage.write(failure_file(wanted.trial), json.dumps(vars(note)).encode())

    def _of(self, wanted: Assignment, there: Collection[str]) -> list[Saved]:
        turns = [turn for turn in TURNS if trial_file(wanted.trial, turn) in there]
        found = {turn: self._state(turn, wanted) for turn in turns}
        damaged = [trial_file(wanted.trial, turn) for turn in turns if found[turn] is None]
        if damaged:
            self.say(
                f"{' and '.join(damaged)} in {self.storage.shown} cannot be used, damaged or of "
                f"another trial: trial {wanted.trial} is trained again from what is whole, with "
                "those that share its micro-batches"
            )
        note = self._failure(wanted) if failure_file(wanted.trial) in there else None
        return [state for state in (*found.values(), note) if state is not None]

    def _state(self, turn: int, wanted: Assignment) -> Saved | None:
        data = self.read(wanted.trial, turn)
        try:
            state = from_bytes(data)
        except StorageError:
            return None
        if state.config != wanted.config:
            return None
        return Saved(state.step, frozenset(report.step for report in state.reports), turn)

    def _failure(self, wanted: Assignment) -> Saved | None:
        """The trial's recorded failure; None also if the file is damaged: it will fail again."""
        try:
            value = parse_json(self.storage.read(failure_file(wanted.trial)))
            note = read_fields(_Note, value)
            is_same = TrialConfig.from_flat(note.config) == wanted.config
        except ValueError:
            return None
        return Saved(note.step, failure=note.failure) if is_same else None


@dataclass(frozen=True, kw_only=True)
class _Note:
    """The file of a trial that cannot be trained beyond a step."""

    config: Mapping[str, object]
    step: int
    failure: str
